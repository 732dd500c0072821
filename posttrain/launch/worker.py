"""One rank: joins the others, runs the stage, leaves its error where the process that started it looks."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, TypeVar

from posttrain import stopping
from posttrain.errors import Stopped, UserError
from posttrain.importing import import_all
from posttrain.launch.allocator import keep_freed_memory
from posttrain.launch.failure import exit_code_of, write_failure
from posttrain.launch.plan import PARENT_PID, threads_of_each
from posttrain.limits import cores
from posttrain.runs import directory

Result = TypeVar("Result")

_COLLECTIVE_TIMEOUT = timedelta(minutes=30)
_PARENT_POLL_SECONDS = 1.0
_ORPHAN_GRACE_SECONDS = 30.0


def run_rank(run: Path, work: Callable[[Path], object]) -> int:
    """Do `work(run)` as the rank that the environment names; return the exit code.

    What it raises is left in the run's logs for the process that started us; with nobody there it is printed.
    """
    os.dup2(2, 1)  # stdout is the result's, and the result is printed by the process that started the ranks
    parent = os.environ.get(PARENT_PID)
    if parent:
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    stopping.listen()
    stopping.take_limits()
    try:
        join_ranks()
        work(run)
        leave_ranks()
        return 0
    except BaseException as error:
        if (number := stopping.asked()) and not isinstance(error, UserError):
            error = Stopped(number)  # whatever another rank's end has made of it
        if not isinstance(error, Stopped):
            write_failure(run, int(os.environ.get("RANK", "0")), error)
        if not parent:
            _print(error)
        return exit_code_of(error)


def join_ranks() -> None:
    """Join the process group that the environment names (RANK, WORLD_SIZE, …): nccl on GPUs, gloo without.

    Returns at once in a process on its own. Comes before any model is loaded: ZeRO-3 shards it while loading.
    """
    ranked = "RANK" in os.environ
    if ranked:
        ranks_here = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE", "1")
        if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
            del os.environ["OMP_NUM_THREADS"]  # torchrun's, where nobody has said
        os.environ.setdefault("OMP_NUM_THREADS", str(threads_of_each(int(ranks_here))))
    import_all("torch")
    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it found no GPU
        keep_freed_memory()
    if not ranked:
        if "OMP_NUM_THREADS" not in os.environ:  # torch knows the cores, but not a container's share of them
            torch.set_num_threads(min(torch.get_num_threads(), cores()))
        return
    from posttrain.launch.deepspeed import join_deepspeed

    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_COLLECTIVE_TIMEOUT)
    join_deepspeed(timeout=_COLLECTIVE_TIMEOUT)


def leave_ranks() -> None:
    """Leave the process group, if there is one, together: gloo aborts a rank whose peers are still talking."""
    if "RANK" in os.environ:
        import torch

        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def from_first_rank(work: Callable[[], Result]) -> Result:
    """Return in every rank what `work` returns in the first, which alone runs it; all raise its UserError.

    What it returns must pickle. In a process on its own it just runs.
    """
    if "RANK" not in os.environ:
        return work()
    import torch

    outcome: list[tuple[Result | None, UserError | None]] = [(None, None)]
    if os.environ["RANK"] == "0":
        try:
            outcome = [(work(), None)]
        except UserError as error:
            outcome = [(None, error)]
    torch.distributed.broadcast_object_list(outcome, src=0)
    result, refusal = outcome[0]
    if refusal is not None:
        raise refusal
    return result  # type: ignore[return-value]


def _end_with(parent: int) -> None:
    """End this process soon after `parent` is gone: softly, then surely."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _print(error: BaseException) -> None:
    if isinstance(error, UserError | Stopped):
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def _run_stage(run: Path) -> None:
    if not (run / directory.RECIPE).exists():
        raise UserError(
            f"{run} is not on this machine",
            where="out",
            fix="several machines need a run directory on a file system that all of them share",
        )
    from posttrain.stages.train import run_stage

    run_stage(run)


def main() -> NoReturn:
    """``python -m posttrain.launch.worker RUN``: run the stage of a run directory as one rank of it."""
    end_rank(run_rank(Path(sys.argv[1]), _run_stage))


def end_rank(code: int) -> NoReturn:
    """End this process as it is. The ordinary way out waits for ranks that are gone after a failure, and now and
    then aborts in the threads of a process group that peers are leaving too."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
