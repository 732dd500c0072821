"""Who works in a run directory keeps others out, for as long as it lives; and nothing leads out of the directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.runs import directory, lock
from posttrain.runs.lock import locked, rank_in

HOLDER = """
import os, sys, time
from pathlib import Path
from posttrain.runs.lock import locked, rank_in
with {kind}(Path(sys.argv[1])):
    {more}
    print("holds", flush=True)
    time.sleep(60)
"""


def holder(run: Path, kind: str = "locked", more: str = "pass") -> subprocess.Popen[str]:
    """A process that holds the directory."""
    command = [sys.executable, "-c", HOLDER.format(kind=kind, more=more), str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "holds\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(UserError, match="another process"), locked(tmp_path):
        pass
    kill(process)
    with locked(tmp_path):
        pass


def test_a_forked_child_that_lives_on_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As data workers and sandboxes are: they have a copy of every open file."""
    process = holder(
        tmp_path,
        more="if os.fork() == 0: print('holds', flush=True); time.sleep(60); os._exit(0)\n    time.sleep(60)",
    )
    kill(process)
    with locked(tmp_path):
        pass


def test_ranks_that_outlive_their_launcher_are_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = holder(tmp_path, "rank_in")
    monkeypatch.setattr(lock, "LONGEST_WAIT_SECONDS", 0.5)
    with pytest.raises(UserError, match="ranks of an earlier start are still working"), locked(tmp_path):
        pass
    assert "waiting for ranks of an earlier start" in capsys.readouterr().err
    kill(process)
    with locked(tmp_path), rank_in(tmp_path), rank_in(tmp_path):
        pass


def test_two_that_start_over_at_once(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("stage: sft\n")
    with locked(tmp_path):
        process = subprocess.run(
            [sys.executable, "-c", HOLDER.format(kind="locked", more="pass"), str(tmp_path)],
            capture_output=True,
            text=True,
        )
    assert process.returncode == 1 and "another process is working" in process.stderr


def test_reading_does_not_wait_for_the_lock(tmp_path: Path) -> None:
    from posttrain.runs.listing import list_runs, render

    process = holder(tmp_path)
    (tmp_path / "recipe.yaml").write_text("stage: sft\nmodel: {path: x}\n")
    directory.write_json(tmp_path / "inputs.json", {})
    started = time.monotonic()
    assert "unfinished" in render(list_runs(tmp_path), tmp_path)
    assert time.monotonic() - started < 5
    kill(process)


@pytest.mark.parametrize("name", ["lock", "final", "samples", "checkpoints/checkpoint-1", "samples/dev-000001.jsonl"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(outside / "kept" if "." in name or name == "lock" else outside)
    with pytest.raises(UserError, match="leads out of the run directory"), locked(run):
        pass
    assert (outside / "kept").read_text() == "kept" and len(list(outside.iterdir())) == 1


def test_links_within_and_to_the_directory_are_taken(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (run / "checkpoints" / "best").symlink_to("checkpoint-2")
    (tmp_path / "link").symlink_to(run)
    with locked(tmp_path / "link"):
        pass


def test_what_is_no_run_is_left_as_it_was(tmp_path: Path) -> None:
    """Not even a lock is written there."""
    from posttrain.launch.start import start_stage

    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "notes.txt").write_text("mine")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "completion": "a"}\n' * 4)
    recipe = tmp_path / "sft.yaml"
    recipe.write_text("stage: sft\ndata: {train: [{path: rows.jsonl}]}\n")
    for fresh in (False, True):
        with pytest.raises(UserError, match="is not empty and is not a run directory"):
            start_stage("sft", recipe, model=None, out=str(tmp_path / "home"), seed=None, overrides=[], fresh=fresh)
    assert os.listdir(tmp_path / "home") == ["notes.txt"]
