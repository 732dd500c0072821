"""Lists of machines are read as DeepSpeed and SLURM read them, and errors name the line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.launch.hosts import expand_nodelist, read_hostfile, tasks_on_node


def test_hostfile(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# the cluster\n\nworker-1 slots=8\nworker-2\tslots=4  # older\n")
    assert read_hostfile(str(path)) == {"worker-1": 8, "worker-2": 4}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("worker-1 slots=8\nworker-2 8\n", ":2", "'worker-2 8' is not a host"),
        ("worker-1 slots=8\nworker-1 slots=8\n", ":2", "worker-1 is listed twice"),
        ("\nworker-1 slots=0\n", ":2", "worker-1 has no slots"),
        ("# nobody\n", "", "lists no host"),
    ],
)
def test_hostfile_errors(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_hostfile(str(path), where="sft.yaml:9 launch.hostfile")
    assert error.value.where == (f"{path}{place}" if place else "sft.yaml:9 launch.hostfile")


def test_missing_hostfile(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file") as error:
        read_hostfile(str(tmp_path / "absent"), where="sft.yaml:9 launch.hostfile")
    assert error.value.where == "sft.yaml:9 launch.hostfile"


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("gpu1", ["gpu1"]),
        ("n[01-03,07],gpu-1", ["n01", "n02", "n03", "n07", "gpu-1"]),
        ("n[8-10]", ["n8", "n9", "n10"]),
        ("a[1-2]b[3,5]", ["a1b3", "a1b5", "a2b3", "a2b5"]),
        ("r[1-2]-ib.cluster", ["r1-ib.cluster", "r2-ib.cluster"]),
    ],
)
def test_nodelist(text: str, hosts: list[str]) -> None:
    assert expand_nodelist(text) == hosts


@pytest.mark.parametrize("text", ["", "n[1-", "n[1-x]", "a,,b", "n1]"])
def test_nodelist_that_is_none(text: str) -> None:
    with pytest.raises(UserError):
        expand_nodelist(text)


def test_tasks_on_node() -> None:
    assert [tasks_on_node("2(x3),1", node) for node in range(4)] == [2, 2, 2, 1]
