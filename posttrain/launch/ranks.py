"""The ranks of a run, together: they meet, do the work, and end as one."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from posttrain.errors import UserError
from posttrain.importing import import_all
from posttrain.launch.agreement import check_shared
from posttrain.launch.allocator import keep_freed_memory
from posttrain.launch.lifeline import open_lifeline
from posttrain.launch.plan import threads_of_each
from posttrain.limits import cores

Result = TypeVar("Result")

JOIN_SECONDS = 600
"""How long ranks wait for each other at the start: machines are slow to come, and read their rows before."""

_COLLECTIVE_TIMEOUT = timedelta(minutes=30)
_SIOCGIFADDR = 0x8915  # netdevice(7)


@contextmanager
def joined_ranks(run: Path, end: Callable[[BaseException], object]) -> Iterator[None]:
    """Be the rank that the environment names while this holds, or a process on its own.

    When another rank ends first, whatever was raised here because of that is replaced by its error; a rank that
    hangs because of it is ended from another thread by `end`, which is given the error and must not return.
    Raises UserError when the ranks do not meet, or do not see one run directory.
    """
    store = join_ranks()
    if store is None:
        yield
        return
    lifeline = open_lifeline(
        store,
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        address=os.environ["MASTER_ADDR"],
        seconds=JOIN_SECONDS,
        end=end,
    )
    try:
        check_shared(run)
        yield
        leave_ranks()
    except BaseException as error:
        cause = lifeline.cause_of(error)
        lifeline.leave(cause)
        if cause is error:
            raise
        raise cause from error
    lifeline.leave()


def join_ranks() -> Any:
    """Join the process group that the environment names (RANK, WORLD_SIZE, …): nccl on GPUs, gloo without.

    Returns its store, or None at once in a process on its own. Comes before any model is loaded: ZeRO-3 shards it
    while loading. Raises UserError when not all ranks have come after JOIN_SECONDS.
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
        return None
    from posttrain.launch.deepspeed import join_deepspeed

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = _meet(rank, world_size)
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=world_size, timeout=_COLLECTIVE_TIMEOUT
    )
    join_deepspeed(timeout=_COLLECTIVE_TIMEOUT)
    return store


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
    return result  # type: ignore[return-value]  # None goes with a refusal


def _meet(rank: int, world_size: int) -> Any:
    """Return the store of this run, where every rank has come; raises UserError naming those that have not."""
    from torch.distributed import DistError, PrefixStore, TCPStore

    address, port, patience = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timedelta(seconds=JOIN_SECONDS)
    agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun has one for us
    host = socket.gethostname()
    try:
        first = rank == 0 and not agents
        server = TCPStore(address, port, world_size, is_master=first, timeout=patience, wait_for_workers=False)
    except DistError as error:
        message = f"rank {rank} ({host}) cannot meet the others at {address}:{port}: {str(error).splitlines()[0]}"
        raise UserError(message, fix="MASTER_ADDR and MASTER_PORT name the machine of rank 0 and a free port") from None
    store = PrefixStore(f"posttrain/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", server)
    _name_interface(address)
    try:
        missing = _missing(store, rank, world_size, host, patience)
    except DistError as error:
        missing = f"0: {str(error).splitlines()[0]}"  # it has the store
    if missing:
        raise UserError(
            f"rank {rank} ({host}) has waited for {JOIN_SECONDS:,} seconds: there is no rank {missing}",
            fix="look at what its machine says; all of them must be started with the same MASTER_ADDR",
        )
    return store


def _missing(store: Any, rank: int, world_size: int, host: str, patience: timedelta) -> str:
    """Return which ranks have not come, as the first has found; raises DistError when it is the first."""
    from torch.distributed import DistError

    store.set(f"came/{rank}", host)
    if rank == 0:
        came = [f"came/{other}" for other in range(world_size)]
        try:
            store.wait(came, patience)
        except DistError:
            store.set("missing", ", ".join(key[5:] for key in came if not store.check([key])))
        else:
            store.set("missing", "")
    return str(store.get("missing").decode())


def _name_interface(address: str) -> None:
    """Tell gloo the network interface towards the first rank, where nobody has: it goes by the machine's name, which
    often is 127.0.1.1 there."""
    if int(os.environ["WORLD_SIZE"]) == int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE", "1")):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((address, 1))  # sends nothing
        except OSError:
            return  # IPv6
        own = asking.getsockname()[0]
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue  # it has no address
            if socket.inet_ntoa(found[20:24]) == own and name != "lo":
                os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
