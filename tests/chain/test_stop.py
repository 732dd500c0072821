"""A signal at each phase of a command: what it leaves, with which exit code, and what the same command makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.chain.conftest import COMMAND, QUICKSTART, environment
from tests.chain.test_resume import assert_same_run

pytestmark = pytest.mark.slow

PAUSED = [sys.executable, str(Path(__file__).parents[1] / "paused.py")]
LEAVES_WITHIN = 15.0  # seconds, from the signal: 10, and what a busy machine takes to end a process


class Ended(NamedTuple):
    code: int
    stdout: str
    stderr: str
    seconds: float


@pytest.fixture
def signalled(tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs a command, and sends it a signal when it has come to a call of a function."""

    def run(where: str, *arguments: str, number: int = signal.SIGTERM, call: int = 1, environ=None) -> Ended:
        folder = tmp_path / f"pause-{where.replace(':', '-')}"
        folder.mkdir()
        process = subprocess.Popen(
            [*PAUSED, where, str(call), str(folder), *arguments],
            cwd=tmp_path,
            env=environment() | (environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for(folder / "there", process)
            sent = time.monotonic()
            process.send_signal(number)
            time.sleep(0.1)  # the signal is handled between two of the held up function's short sleeps
            (folder / "go").touch()
            stdout, stderr = process.communicate(timeout=240)
        finally:
            process.kill()
        assert "Traceback" not in stderr, stderr
        assert not others(process.pid), "processes are left"
        return Ended(process.returncode, stdout, stderr, time.monotonic() - sent)

    return run


def wait_for(path: Path, process: subprocess.Popen, text: str = "") -> None:
    deadline = time.monotonic() + 300
    while not path.exists() or text not in path.read_text():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, f"{path} is not there after five minutes"
        time.sleep(0.02)


def others(session: int, patience: float = 6.0) -> list[str]:
    """Return the processes of a session that are still there when the patience is over."""
    deadline = time.monotonic() + patience
    while True:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, fields = stat.read_text().split(" ", 1)[1].rsplit(")", 1)
            except (OSError, IndexError):
                continue
            state, _, _, its_session = fields.split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(name)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def steps_of(run: Path) -> list[int]:
    return sorted(int(path.name.rsplit("-", 1)[1]) for path in (run / "checkpoints").glob("checkpoint-*"))


@pytest.mark.parametrize(
    "where",
    ["posttrain.data.load:convert_source", "posttrain.model.load:load_model", "posttrain.stages.flat:_try"],
)
def test_before_the_first_step_it_leaves_at_once(signalled, recipe, tmp_path: Path, where: str) -> None:
    ended = signalled(where, "sft", str(recipe("sft")))
    assert (ended.code, ended.stdout) == (143, "")
    assert "stopped by SIGTERM: no step is saved yet; run the same command again to go on" in ended.stderr
    assert ended.seconds < LEAVES_WITHIN
    assert not (tmp_path / "runs/sft/run.json").exists()


@pytest.mark.parametrize(
    ("where", "call", "saved", "said"),
    [
        # Call 4 of the micro-batches is the second of step 2; batch 3 of held-out rows is in the look at step 2.
        ("transformers:Trainer.training_step", 4, [2], "finishing the step"),
        ("transformers:Trainer._save_optimizer_and_scheduler", 1, [2], "then saving"),
        ("transformers.trainer_callback:CallbackHandler.on_prediction_step", 3, [2], "saving step 2"),
    ],
)
def test_what_is_stopped_while_training_ends_where_the_whole_run_does(
    signalled, posttrain, recipe, tmp_path: Path, where: str, call: int, saved: list[int], said: str
) -> None:
    sections = {
        "train": {"max_steps": 5, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        "eval": {"every": 2},
    }
    path = recipe("sft", "cut", **sections)
    ended = signalled(where, "sft", str(path), call=call)
    assert (ended.code, ended.stdout) == (143, "")
    assert said in ended.stderr, ended.stderr
    assert f"step {saved[-1]} is saved; run the same command again to go on" in ended.stderr
    assert steps_of(tmp_path / "runs/cut") == saved

    assert posttrain("sft", str(path)).stdout == "runs/cut/final\n"
    assert posttrain("sft", str(recipe("sft", "whole", **sections))).returncode == 0
    assert_same_run(tmp_path / "runs/cut", tmp_path / "runs/whole")


def test_a_step_that_is_drawn_is_dropped_and_drawn_again(signalled, posttrain, recipe, tmp_path: Path) -> None:
    """Step 3 is under way: the 2 looks at steps 0 and 2, the signal's, and 3 draws."""
    sections = {"train": {"max_steps": 4}, "eval": {"every": 2, "samples": 2, "k": [1]}, "signal": {"problems": 0}}
    path = recipe("rlvr", "cut", **sections)
    ended = signalled("posttrain.stages.rlvr.rollouts:sample_and_grade", "rlvr", str(path), call=3)
    assert ended.code == 143
    assert "leaving the samples that are being drawn" in ended.stderr
    assert steps_of(tmp_path / "runs/cut") == [2]
    assert ended.seconds < LEAVES_WITHIN

    assert posttrain("rlvr", str(path)).returncode == 0
    assert posttrain("rlvr", str(recipe("rlvr", "whole", **sections))).returncode == 0
    assert_same_run(tmp_path / "runs/cut", tmp_path / "runs/whole")


def test_a_look_is_left_and_taken_again(signalled, posttrain, recipe, tmp_path: Path) -> None:
    sections = {"train": {"max_steps": 3}, "eval": {"every": 1, "samples": 2, "k": [1]}, "signal": {"problems": 0}}
    path = recipe("rlvr", "cut", **sections)
    ended = signalled("posttrain.stages.look:sample_and_grade", "rlvr", str(path), call=2)
    assert ended.code == 143
    assert steps_of(tmp_path / "runs/cut") == [1]

    assert posttrain("rlvr", str(path)).returncode == 0
    looked = [json.loads(line) for line in (tmp_path / "runs/cut/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in looked if row["split"] == "dev"] == [0, 1, 2, 3]


def test_the_references_pass_is_left(signalled, recipe, tmp_path: Path) -> None:
    path = recipe("dpo", train={"precompute_ref_log_probs": True})
    ended = signalled("posttrain.stages.reference:_answer_logps", "dpo", str(path), call=2, number=signal.SIGINT)
    assert (ended.code, ended.stdout) == (130, "")
    assert "stopped by SIGINT: no step is saved yet" in ended.stderr


def test_a_run_that_is_being_finished_is_finished(signalled, recipe, tmp_path: Path) -> None:
    ended = signalled("posttrain.model.save:_plain_copy", "sft", str(recipe("sft")))
    assert (ended.code, ended.stdout) == (0, "runs/sft/final\n")
    assert (tmp_path / "runs/sft/run.json").exists()


def test_an_eval_keeps_what_it_has_drawn(signalled, posttrain, tmp_path: Path) -> None:
    document = {
        "stage": "eval",
        "out": "runs/judged",
        "model": {"path": "builtin:tiny", "dtype": "float32"},
        "data": {"dev": [{"path": str(QUICKSTART / "data" / "problems.jsonl"), "limit": 12}]},
        "graders": [{"type": "number"}],
        "rollout": {"batch_size": 4, "max_new_tokens": 24},
        "eval": {"samples": 2, "k": [1]},
    }
    path = tmp_path / "judged.yaml"
    path.write_text(yaml.safe_dump(document))
    ended = signalled("posttrain.evals.held_out:grade_group", "eval", str(path), call=6)
    assert (ended.code, ended.stdout) == (143, "")
    assert "what was drawn is kept in runs/judged/samples/" in ended.stderr
    (kept,) = (tmp_path / "runs/judged/samples").glob("*.jsonl")
    before = [json.loads(line) for line in kept.read_text().splitlines() if line]
    assert 0 < len(before) < 24

    done = posttrain("eval", str(path), "--json")
    assert done.returncode == 0, done.stderr
    after = [json.loads(line) for line in kept.read_text().splitlines() if line]
    assert len(after) == 24
    assert all(row in after for row in before)


def test_a_data_command_leaves_nothing(signalled, tmp_path: Path) -> None:
    source = str(QUICKSTART / "data" / "sft.jsonl")
    command = ("data", "convert", source, "--out", "new.jsonl")
    ended = signalled("posttrain.curation.write:encode", *command, call=5, number=signal.SIGINT)
    assert (ended.code, ended.stdout) == (130, "")
    assert ended.stderr.strip() == "stopped by SIGINT: new.jsonl is not written"
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("pause")] == []


def test_grade_leaves(signalled, tmp_path: Path) -> None:
    (tmp_path / "grader.yaml").write_text("type: number\n")
    (tmp_path / "rows.jsonl").write_text('{"answer": "1", "completion": "1"}\n' * 40)
    ended = signalled("posttrain.graders.number:final_text", "grade", "grader.yaml", "rows.jsonl", call=20)
    assert (ended.code, ended.stdout, ended.stderr.strip()) == (143, "", "stopped by SIGTERM")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_slurms_warnings_and_a_closed_terminal_stop_too(signalled, recipe, tmp_path: Path, number: int) -> None:
    environ = {"SLURM_JOB_ID": "77"}
    ended = signalled(
        "transformers:Trainer.training_step", "sft", str(recipe("sft")), call=1, number=number, environ=environ
    )
    assert ended.code == 143
    assert f"stopped by {signal.Signals(number).name}: step 1 is saved" in ended.stderr
    assert "scontrol requeue 77" in ended.stderr


@pytest.fixture
def start_seconds(posttrain, recipe) -> float:
    """How long this machine, as busy as it is, takes to come to the first step and save it."""
    began = time.monotonic()
    assert posttrain("sft", str(recipe("sft", "start", train={"max_steps": 1}))).returncode == 0
    return 1.5 * (time.monotonic() - began)


def test_timeout_which_sends_to_a_process_and_its_group_stops_once(recipe, tmp_path: Path, start_seconds) -> None:
    """coreutils' `timeout` signals its child twice; the second time, through the group, its workers as well."""
    path = recipe("sft", train={"max_steps": 100_000})
    seconds = str(round(start_seconds + 3))
    command = ["timeout", "-s", "TERM", "--preserve-status", seconds, *COMMAND, "sft", str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert "is saved; run the same command again to go on" in done.stderr
    assert steps_of(tmp_path / "runs/sft")


def test_a_second_signal_ends_it_at_once(recipe, tmp_path: Path) -> None:
    folder = tmp_path / "pause"
    folder.mkdir()
    process = subprocess.Popen(
        [*PAUSED, "transformers:Trainer.training_step", "1", str(folder), "sft", str(recipe("sft"))],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(folder / "there", process)
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)  # signals within a second are one
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == 130
    assert stderr.endswith("stopped at once\n")
    assert not others(process.pid)


def test_max_minutes_saves_before_they_are_over(posttrain, recipe, tmp_path: Path, start_seconds) -> None:
    path = recipe("sft", train={"max_steps": 100_000})
    minutes = f"{(start_seconds + 10) / 60:.2f}"
    began = time.monotonic()
    done = posttrain("sft", str(path), "--max-minutes", minutes)
    assert (done.returncode, done.stdout) == (143, "")
    assert time.monotonic() - began < 60 * float(minutes)
    assert f"stopped by --max-minutes {float(minutes):g}: step" in done.stderr
    assert steps_of(tmp_path / "runs/sft")

    waiting = posttrain("dpo", str(recipe("dpo")), "--model", "-", stdin=done.stdout)
    assert waiting.returncode == 2
    assert "nothing came from the stage before it" in waiting.stderr


def test_a_slurm_job_stops_before_its_end(recipe, tmp_path: Path, start_seconds) -> None:
    end = str(round(time.time() + start_seconds + 10))
    environ = environment() | {"SLURM_JOB_ID": "77", "SLURM_JOB_END_TIME": end}
    command = [*COMMAND, "sft", str(recipe("sft", train={"max_steps": 100_000}))]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 143
    assert time.time() < int(environ["SLURM_JOB_END_TIME"])
    assert "stopped by the time limit of the SLURM job: step" in done.stderr
    assert "scontrol requeue 77" in done.stderr


@pytest.mark.parametrize(("zero", "to"), [(0, "launcher"), (2, "one rank"), (3, "launcher")])
def test_ranks_save_the_same_step(posttrain, recipe, tmp_path: Path, zero: int, to: str) -> None:
    path = recipe("sft", "cut", train={"max_steps": 2000}, launch={"processes": 2, "zero": zero}, eval={"every": 1000})
    process = subprocess.Popen(
        [*COMMAND, "sft", str(path)],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(tmp_path / "runs/cut/metrics.jsonl", process, '"step": 2')
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(process.pid if to == "launcher" else int(ranks[-1]), signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=240)
    assert (process.returncode, stdout) == (143, ""), stderr
    assert "Traceback" not in stderr
    (step,) = steps_of(tmp_path / "runs/cut")
    assert f"step {step} is saved" in stderr
    rows = [json.loads(line) for line in (tmp_path / "runs/cut/metrics.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows) == step
    assert not [rank for rank in ranks if Path(f"/proc/{rank}").exists()]
