"""What to start: the command line and environment of every process, as data. Imports no torch.

- in this process: one device and no ZeRO; nothing to start, unless it is to be started again with smaller batches
- several processes on this machine: one for each rank, started and watched by us
- several machines: DeepSpeed's own launcher, from a hostfile
- under torchrun, Kubernetes or SLURM: this process is one of the ranks already
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from posttrain.errors import UserError
from posttrain.launch.gpus import chosen_gpus, visible_gpus
from posttrain.launch.hosts import expand_nodelist, read_hostfile, tasks_on_node
from posttrain.limits import cores
from posttrain.recipe.schema import Launch

WORKER = "posttrain.launch.worker"
LOGS = "logs"
PARENT_PID = "POSTTRAIN_PARENT_PID"

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NODES_OF_TORCHRUN = "PET_NNODES"  # torchrun reads its own options from PET_…
_SSH_OPTIONS = "PDSH_SSH_ARGS_APPEND"
_SSH_ENDS = "-o ServerAliveInterval=10 -o ServerAliveCountMax=3"  # a machine that is cut off would hold pdsh for hours
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_SLURM_FIRST_PORT, _SLURM_PORTS = 20_000, 20_000


@dataclass(frozen=True)
class Process:
    """One process to start. `environ` is added to our own; `log` takes its output, None passes it through."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None


@dataclass(frozen=True)
class Plan:
    """How a run is spread out.

    Without `processes` this process does the work itself, after adding `environ` to its environment.
    `is_main` is false in a rank that prints no result, `world_size` the number of ranks in all.
    """

    run: Path
    world_size: int = 1
    processes: tuple[Process, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    is_main: bool = True


def make_plan(
    launch: Launch,
    run: Path,
    *,
    environ: Mapping[str, str],
    place: Callable[[str], str] = str,
    gpus: int | None = None,
) -> Plan:
    """Return how to launch `run`.

    `environ` is the environment to read, `place` turns a dotted key into file:line, `gpus` is the number of
    visible GPUs (counted when it is not given). Raises UserError for what this machine cannot run.
    """
    run = run.absolute()
    outside = _torchrun_rank(environ) or _slurm_rank(environ)
    if outside and launch.hostfile:
        raise UserError(
            "torchrun or SLURM has started the ranks already, a hostfile would start them again",
            where=place("launch.hostfile"),
            fix="leave launch.hostfile out",
        )
    if (outside or launch.hostfile) and launch.on_out_of_memory == "smaller":
        raise UserError(
            "a run is started again with smaller batches where posttrain has started all its processes, on one machine",
            where=place("launch.on_out_of_memory"),
            fix="leave it out, or start posttrain itself on one machine",
        )
    gpus = visible_gpus(environ) if gpus is None else gpus
    _refuse_half_started(environ, outside, gpus)
    if outside:
        return Plan(run, int(outside["WORLD_SIZE"]), environ=outside, is_main=outside["RANK"] == "0")
    ranks: int | None = None if launch.processes == "auto" else launch.processes
    if launch.hostfile:
        hosts = read_hostfile(launch.hostfile, where=place("launch.hostfile"))
        ranks = _ranks_of_each(hosts, ranks, place)
        if not _is_this_machine(hosts):
            return _many_hosts(launch.hostfile, hosts, ranks, run, environ, place)
        ranks = ranks or sum(hosts.values())
    ranks = ranks or max(gpus, 1)
    if gpus and ranks > gpus:
        raise UserError(
            f"{ranks} processes but {gpus} visible GPU{'s' if gpus > 1 else ''}",
            where=place("launch.processes"),
            fix="one process drives one GPU: lower it, or use `auto`",
        )
    if ranks == 1 and launch.zero == 0:
        alone = _one_gpu(environ, gpus)
        return Plan(run, environ=alone) if launch.on_out_of_memory == "stop" else Plan(run, 1, (_watched(run, alone),))
    return Plan(run, ranks, _local_ranks(ranks, run))


def _torchrun_rank(environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the rank variables that torchrun (or a launcher like it) has set, or None.

    Kubeflow's PyTorchJob sets them for each pod, without LOCAL_RANK; in a job of one pod they say nothing.
    """
    if any(name not in environ for name in _TORCHRUN):
        return None
    found = {name: environ[name] for name in _TORCHRUN}
    if "LOCAL_RANK" in environ:
        return {**found, "LOCAL_RANK": environ["LOCAL_RANK"]}
    return {**found, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"} if found["WORLD_SIZE"] != "1" else None


def _refuse_half_started(environ: Mapping[str, str], outside: Mapping[str, str] | None, gpus: int) -> None:
    """Raise UserError where a pod is one of several and torchrun was to start its ranks, but has not."""
    nodes = environ.get(_NODES_OF_TORCHRUN, "1")
    alone = outside is None and nodes not in ("1", "1:1")
    wasted = outside is not None and "LOCAL_RANK" not in environ and "SLURM_PROCID" not in environ and gpus > 1
    if not alone and not wasted:
        return
    raise UserError(
        f"this is one of {nodes} machines, and no rank of them yet"
        if alone
        else f"one process on this machine, and {gpus} GPUs",
        where=_NODES_OF_TORCHRUN if alone else "RANK",
        fix="start it as `torchrun --no-python posttrain …`, with --nproc-per-node for the GPUs of each",
    )


def _slurm_rank(environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return torchrun's rank variables for a task that srun started, or None.

    A batch script has SLURM_PROCID too, without being one of several tasks: it has no step.
    """
    ranks = environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS", "1")
    in_script = environ.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in environ
    if "SLURM_PROCID" not in environ or int(ranks) == 1 or in_script:
        return None
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST") or "localhost"
    tasks = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE", "1")
    port = _SLURM_FIRST_PORT + int(environ.get("SLURM_JOB_ID", "0")) % _SLURM_PORTS
    return {
        "RANK": environ["SLURM_PROCID"],
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": ranks,
        "LOCAL_WORLD_SIZE": str(tasks_on_node(tasks, int(environ.get("SLURM_NODEID", "0")))),
        "MASTER_ADDR": environ.get("MASTER_ADDR") or expand_nodelist(nodes)[0],
        "MASTER_PORT": environ.get("MASTER_PORT") or str(port),
    }


def _one_gpu(environ: Mapping[str, str], gpus: int) -> dict[str, str]:
    """Return the environment that shows one process one GPU: over several the Trainer splits each batch."""
    if gpus <= 1:
        return {}
    return {"CUDA_VISIBLE_DEVICES": chosen_gpus(environ.get("CUDA_VISIBLE_DEVICES", "0"))[0]}


def _watched(run: Path, environ: Mapping[str, str]) -> Process:
    """Return the one process of a run that is to outlive it."""
    return Process("the process", (sys.executable, "-m", WORKER, str(run)), {**environ, PARENT_PID: str(os.getpid())})


def _local_ranks(count: int, run: Path) -> tuple[Process, ...]:
    """Return one process for each rank on this machine; the first shows its output, the others log it."""
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": str(threads_of_each(count)),
        PARENT_PID: str(os.getpid()),
    }
    return tuple(
        Process(
            name=f"rank {rank}",
            argv=(sys.executable, "-m", WORKER, str(run)),
            environ={"RANK": str(rank), "LOCAL_RANK": str(rank), **shared},
            log=run / LOGS / f"rank-{rank}.log" if rank else None,
        )
        for rank in range(count)
    )


def threads_of_each(processes: int) -> int:
    """Return how many threads each of `processes` on this machine gets; more would fight over the cores."""
    return max(1, cores() // processes)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ranks_of_each(hosts: Mapping[str, int], ranks: int | None, place: Callable[[str], str]) -> int | None:
    """Return the processes on each host, None for as many as each has slots."""
    host = min(hosts, key=hosts.__getitem__)
    if ranks and ranks > hosts[host]:
        raise UserError(
            f"{ranks} processes on each machine, but {host} has {hosts[host]} slots",
            where=place("launch.processes"),
            fix="use `auto` to take every slot of the hostfile",
        )
    return ranks


def _is_this_machine(hosts: Mapping[str, int]) -> bool:
    return len(hosts) == 1 and set(hosts) <= {*_LOCAL_NAMES, socket.gethostname()}


def _many_hosts(
    hostfile: str,
    hosts: Mapping[str, int],
    ranks: int | None,
    run: Path,
    environ: Mapping[str, str],
    place: Callable[[str], str],
) -> Plan:
    """Return the plan that leaves several machines to DeepSpeed's launcher, which reaches them by pdsh.

    The run directory must lie on a file system that all of them share.
    """
    if not shutil.which("pdsh", path=environ.get("PATH")):
        raise UserError(
            "pdsh is not installed here; DeepSpeed starts the processes of other machines with it",
            where=place("launch.hostfile"),
            fix="install pdsh, or start posttrain with torchrun or srun on each machine",
        )
    argv = [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", str(Path(hostfile).absolute())]
    argv += ["--num_gpus", str(ranks)] if ranks else []
    argv += ["--master_port", environ["MASTER_PORT"]] if "MASTER_PORT" in environ else []
    argv += ["--force_multi", "--quiet", "--no_local_rank", "--module", WORKER, str(run)]
    world_size = ranks * len(hosts) if ranks else sum(hosts.values())
    ssh = f"{environ.get(_SSH_OPTIONS, '')} {_SSH_ENDS}".strip()
    return Plan(run, world_size, (Process("deepspeed", tuple(argv), {_SSH_OPTIONS: ssh}),))
