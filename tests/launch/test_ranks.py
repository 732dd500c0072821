"""Real ranks: started by torchrun, and sharded by DeepSpeed on CPU to the same losses as one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

UNDER_TORCHRUN = """
import os, sys
from pathlib import Path
from posttrain.errors import UserError
from posttrain.launch.plan import make_plan
from posttrain.launch.agreement import agree
from posttrain.launch.ranks import from_first_rank, joined_ranks
from posttrain.recipe.schema import Launch

plan = make_plan(Launch(zero=2), Path("run"), environ=os.environ)
os.environ.update(plan.environ)
def refuse():
    raise UserError("no", where="out")
with joined_ranks(Path(sys.argv[1], "run"), print):
    said = from_first_rank(lambda: f"said by {os.environ['RANK']}")
    try:
        from_first_rank(refuse)
    except UserError as error:
        said += f", refused at {error.where}"
    agree({"seed": "1"})
    try:
        agree({"seed": os.environ["RANK"]})
    except UserError as error:
        said += f", {error.message.count(' on rank ')} disagree"
Path(sys.argv[1], os.environ["RANK"]).write_text(f"{plan.world_size} {plan.is_main} {said}")
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.slow
def test_under_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNDER_TORCHRUN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launcher, str(script), str(tmp_path)], check=True, timeout=300)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [
        "2 True said by 0, refused at out, 2 disagree",
        "2 False said by 0, refused at out, 2 disagree",
    ]
    assert not list((tmp_path / "run" / "logs").iterdir())


TWO = """
import os, sys
from pathlib import Path
from posttrain.launch import agreement, ranks
from posttrain.launch.worker import end_rank, run_rank
ranks.JOIN_SECONDS, agreement.SEEN_SECONDS = float(sys.argv[3]), 1
def work(run):
    if os.environ["RANK"] == sys.argv[2]:
        raise {}["loss"]
    import torch
    torch.distributed.barrier()
end_rank(run_rank(Path(sys.argv[1]), work))
"""


def start_two(folder: Path, runs: tuple[str, str], fails: str = "none", join: float = 120) -> list[tuple[int, str]]:
    """Return how two ranks ended and what they said. A run of \"\" is a rank that never comes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2"}
    started = []
    for rank, run in enumerate(runs):
        environ = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", TWO, str(folder / run), fails, str(join)]
        if run:
            started.append(subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=300)[1] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


@pytest.mark.slow
def test_a_directory_that_is_not_shared(tmp_path: Path) -> None:
    for code, said in start_two(tmp_path, ("here", "there")):
        assert code == 2
        assert f"error: out: {tmp_path}" in said and "is not seen by rank 1" in said


@pytest.mark.slow
def test_a_rank_that_does_not_come(tmp_path: Path) -> None:
    ((code, said),) = start_two(tmp_path, ("run", ""), join=2)
    assert code == 2
    assert "there is no rank 1" in said


@pytest.mark.slow
def test_a_crash_of_one_is_what_both_say(tmp_path: Path) -> None:
    first, second = start_two(tmp_path, ("run", "run"), fails="1")
    assert first[0] == second[0] == 1
    assert "rank 1 crashed" in first[1] and "KeyError: 'loss'" in first[1] and "barrier" not in first[1]
    assert "KeyError: 'loss'" in second[1]
