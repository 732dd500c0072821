"""The batch file: what bash and SLURM read in it. That SLURM runs it to the end, tests/faults/slurm.py shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.launch.sbatch import Machines, write_batch


def batch(command: tuple[str, ...] = ("sft", "sft.yaml"), run: str = "runs/a", **asked: Any) -> str:
    return write_batch(Machines(**asked), command, name="a", run=Path(run), directory=Path("/home/me"))


def asked_of_slurm(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_what_is_asked_of_slurm() -> None:
    text = batch(nodes=2, gpus_per_node=8, time="24:00:00", partition="gpu", options=("--mem=0", "--exclusive"))
    assert asked_of_slurm(text) == [
        "--job-name=a",
        "--nodes=2",
        "--ntasks-per-node=8",
        "--gpus-per-node=8",
        "--time=24:00:00",
        "--partition=gpu",
        "--chdir=/home/me",
        "--output=/home/me/runs/a/logs/slurm-%j.log",
        "--open-mode=append",
        "--signal=USR1@120",
        "--requeue",
        "--mem=0",
        "--exclusive",
    ]


@pytest.mark.parametrize(
    ("asked", "tasks"),
    [({}, 1), ({"gpus_per_node": 4}, 4), ({"ntasks_per_node": 2}, 2), ({"gpus_per_node": 4, "ntasks_per_node": 4}, 4)],
)
def test_one_task_for_each_gpu(asked: dict[str, int], tasks: int) -> None:
    assert f"--ntasks-per-node={tasks}" in asked_of_slurm(batch(**asked))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"gpus_per_node": 8, "ntasks_per_node": 2}, "2 tasks but 8 GPUs"),
        ({"options": ("--nodes=4",)}, "--nodes is set already"),
        ({"options": ("mem=0",)}, "no option of sbatch"),
        ({"options": ("--mem=0\nrm",)}, "no option of sbatch"),
        ({"partition": "gpu cpu"}, "sbatch cannot take 'gpu cpu'"),
        ({"run": "my runs/a"}, "sbatch cannot take '/home/me/my runs/a/logs/slurm-%j.log'"),
        ({"run": "runs/%u"}, "sbatch cannot take"),
    ],
)
def test_what_does_not_work(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        batch(**asked)


PROGRAMS = {
    "scontrol": 'echo "scontrol $*" >> said; echo node-1; echo node-2',
    "srun": 'echo "srun MASTER_ADDR=$MASTER_ADDR" >> said; for word; do echo "  $word" >> said; done; exit {code}',
    "squeue": "echo {state}",
}


def played(folder: Path, text: str, code: int, state: str = "RUNNING", restarts: str | None = None) -> tuple[int, str]:
    """Run the file in bash, with programs that answer as SLURM's do; return its exit code and what they were asked."""
    for name, script in PROGRAMS.items():
        program = folder / name
        program.write_text("#!/bin/bash\n" + script.format(code=code, state=state) + "\n")
        program.chmod(0o755)
    environ = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[1-2]"}
    environ |= {} if restarts is None else {"SLURM_RESTART_COUNT": restarts}
    done = subprocess.run(["bash", "-c", text], cwd=folder, env=environ, stdout=subprocess.DEVNULL)
    return done.returncode, (folder / "said").read_text()


def test_every_word_reaches_posttrain(tmp_path: Path) -> None:
    text = batch(("sft", "my recipe.yaml", "--set", "data.train[0].path=a 'b' $HOME"), cpus_per_task=4)
    code, said = played(tmp_path, text, code=0)
    assert code == 0
    assert said.splitlines() == [
        "scontrol show hostnames node-[1-2]",
        "srun MASTER_ADDR=node-1",
        "  --wait=60",
        "  --cpus-per-task=4",
        "  --open-mode=append",
        "  --output=/home/me/runs/a/logs/slurm-%j-%t.log",
        *(f"  {word}" for word in (sys.executable, "-m", "posttrain", "sft", "my recipe.yaml", "--set")),
        "  data.train[0].path=a 'b' $HOME",
    ]


@pytest.mark.parametrize(
    ("code", "state", "restarts", "again"),
    [
        (143, "RUNNING", None, True),
        (143, "RUNNING", "49", True),
        (143, "RUNNING", "50", False),
        (143, "COMPLETING", None, False),
        (0, "RUNNING", None, False),
        (2, "RUNNING", None, False),
        (130, "RUNNING", None, False),
    ],
)
def test_which_end_queues_it_again(tmp_path: Path, code: int, state: str, restarts: str | None, again: bool) -> None:
    ended, said = played(tmp_path, batch(), code, state, restarts)
    assert ended == code
    assert ("scontrol requeue 7" in said) == again
