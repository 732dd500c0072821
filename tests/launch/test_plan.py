"""Each way to launch, as data: what is started, with which environment, and what is refused."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.launch.plan import PARENT_PID, Plan, make_plan, threads_of_each
from posttrain.recipe.schema import Launch

TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_NTASKS": "6",
    "SLURM_TASKS_PER_NODE": "2(x3)",
    "SLURM_NODELIST": "gpu[07-09]",
    "SLURM_JOB_ID": "41234",
}


def plan(environ: dict[str, str] | None = None, gpus: int = 0, **launch: Any) -> Plan:
    return make_plan(Launch(**launch), Path("runs/a"), environ=environ or {}, gpus=gpus)


@pytest.mark.parametrize(
    ("launch", "gpus", "ranks"),
    [
        ({}, 0, 0),
        ({}, 1, 0),
        ({"processes": 1}, 4, 0),
        ({}, 4, 4),
        ({"processes": 2}, 4, 2),
        ({"processes": 2}, 0, 2),
        ({"processes": 1, "zero": 2}, 1, 1),
        ({"zero": 3, "offload": ["parameters"]}, 0, 1),
    ],
)
def test_how_many_processes_are_started(launch: dict[str, Any], gpus: int, ranks: int) -> None:
    made = plan(gpus=gpus, **launch)
    assert len(made.processes) == ranks
    assert made.world_size == max(ranks, 1)
    assert made.is_main


def test_local_ranks() -> None:
    first, second = plan(processes=2).processes
    run = Path("runs/a").absolute()
    assert first.argv == second.argv == (sys.executable, "-m", "posttrain.launch.worker", str(run))
    assert first.environ == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": first.environ["MASTER_PORT"],
        "OMP_NUM_THREADS": str(threads_of_each(2)),
        PARENT_PID: str(os.getpid()),
    }
    assert second.environ == {**first.environ, "RANK": "1", "LOCAL_RANK": "1"}
    assert first.log is None
    assert second.log == run / "logs" / "rank-1.log"


def test_threads_are_shared_out() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_of_each(1) == cores
    assert threads_of_each(10 * cores) == 1


def test_one_process_sees_one_gpu() -> None:
    assert plan(gpus=1, processes=1).environ == {}
    assert plan(gpus=4, processes=1).environ == {"CUDA_VISIBLE_DEVICES": "0"}
    assert plan({"CUDA_VISIBLE_DEVICES": "2,3"}, gpus=2, processes=1).environ == {"CUDA_VISIBLE_DEVICES": "2"}


def test_more_processes_than_gpus() -> None:
    with pytest.raises(UserError, match="4 processes but 2 visible GPUs") as error:
        make_plan(
            Launch(processes=4),
            Path("runs/a"),
            environ={},
            gpus=2,
            place=lambda key: f"sft.yaml:7 {key}",
        )
    assert error.value.where == "sft.yaml:7 launch.processes"


def test_torchrun_is_taken_as_found() -> None:
    made = plan(TORCHRUN, processes=2, zero=3)
    assert made == Plan(Path("runs/a").absolute(), 4, environ=TORCHRUN, is_main=False)
    assert plan({**TORCHRUN, "RANK": "0"}).is_main
    partly = {name: value for name, value in TORCHRUN.items() if name != "MASTER_ADDR"}
    assert plan(partly).world_size == 1


PYTORCHJOB = {  # as Kubeflow's operator sets them in a pod
    "MASTER_ADDR": "sft-master-0",
    "MASTER_PORT": "23456",
    "WORLD_SIZE": "2",
    "RANK": "1",
    "PET_MASTER_ADDR": "sft-master-0",
    "PET_MASTER_PORT": "23456",
    "PET_NPROC_PER_NODE": "auto",
    "PET_NODE_RANK": "1",
    "PET_NNODES": "2",
}


def test_a_pod_is_a_rank() -> None:
    made = plan(PYTORCHJOB, gpus=1)
    assert (made.world_size, made.is_main, made.processes) == (2, False, ())
    assert made.environ == {
        **{name: PYTORCHJOB[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")},
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
    }


def test_a_pod_alone_starts_its_own_ranks() -> None:
    alone = {**PYTORCHJOB, "WORLD_SIZE": "1", "RANK": "0", "PET_NNODES": "1"}
    assert len(plan(alone, gpus=4).processes) == 4


@pytest.mark.parametrize(
    ("environ", "gpus", "message"),
    [
        (PYTORCHJOB, 8, "one process on this machine, and 8 GPUs"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "0"}, 0, "one of 2 machines, and no rank"),
        ({"PET_NNODES": "1:4", "PET_NODE_RANK": "0"}, 8, "one of 1:4 machines, and no rank"),
    ],
)
def test_a_pod_that_torchrun_was_to_start_in(environ: dict[str, str], gpus: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        plan(environ, gpus=gpus)
    assert "torchrun --no-python" in str(error.value)


def test_slurm() -> None:
    made = plan(SLURM)
    assert (made.world_size, made.is_main, made.processes) == (6, False, ())
    assert made.environ == {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "21234",
    }


@pytest.mark.parametrize("environ", [{**SLURM, "SLURM_NTASKS": "1"}, {**SLURM, "ENVIRONMENT": "BATCH"}])
def test_slurm_without_tasks_of_ours(environ: dict[str, str]) -> None:
    assert plan(environ) == Plan(Path("runs/a").absolute())


def test_srun_in_a_batch_script() -> None:
    assert plan({**SLURM, "ENVIRONMENT": "BATCH", "SLURM_STEP_ID": "0"}).world_size == 6


@pytest.fixture
def pdsh(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "pdsh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return {"PATH": str(program.parent)}


def hostfile(folder: Path, text: str) -> str:
    path = folder / "hosts"
    path.write_text(text)
    return str(path)


def test_hostfile_of_several_machines(tmp_path: Path, pdsh: dict[str, str]) -> None:
    hosts = hostfile(tmp_path, "a slots=4\nb slots=2\n")
    made = plan(pdsh, hostfile=hosts, zero=2)
    assert made.world_size == 6
    (process,) = made.processes
    assert process.argv == (
        *(sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", hosts),
        *("--force_multi", "--quiet", "--no_local_rank", "--module", "posttrain.launch.worker"),
        str(Path("runs/a").absolute()),
    )
    assert process.environ == {"PDSH_SSH_ARGS_APPEND": "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"}
    assert plan(pdsh, hostfile=hosts, processes=2).world_size == 4
    with pytest.raises(UserError, match="b has 2 slots"):
        plan(pdsh, hostfile=hosts, processes=3)


@pytest.mark.slow
def test_deepspeed_understands_the_command(tmp_path: Path, pdsh: dict[str, str]) -> None:
    from deepspeed.launcher.runner import fetch_hostfile, parse_args

    hosts = hostfile(tmp_path, "a slots=4\nb slots=2\n")
    (process,) = plan({**pdsh, "MASTER_PORT": "29501"}, hostfile=hosts, processes=2).processes
    parsed = parse_args(process.argv[3:])
    assert (parsed.num_gpus, parsed.master_port, parsed.no_local_rank, parsed.module) == (
        2,
        29501,
        True,
        True,
    )
    assert parsed.user_script == "posttrain.launch.worker"
    assert parsed.user_args == [str(Path("runs/a").absolute())]
    assert fetch_hostfile(parsed.hostfile) == {"a": 4, "b": 2}


@pytest.mark.parametrize("host", ["localhost", socket.gethostname()])
def test_hostfile_of_this_machine_needs_no_ssh(tmp_path: Path, host: str) -> None:
    assert len(plan(hostfile=hostfile(tmp_path, f"{host} slots=2\n")).processes) == 2


def test_hostfile_without_pdsh(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pdsh is not installed"):
        plan({"PATH": str(tmp_path)}, hostfile=hostfile(tmp_path, "a slots=4\nb slots=2\n"))


def test_hostfile_under_torchrun(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="started the ranks already"):
        plan(TORCHRUN, hostfile=hostfile(tmp_path, "a slots=4\n"))
