"""A connection from each rank to the first, by which all learn within a minute that one of them is gone.

The kernels at its two ends keep it alive (TCP keepalive), not the processes: a rank that grades, saves or holds
Python's lock for an hour is not taken for dead, and a machine that is cut off is noticed though nothing is sent.
A rank that ends says why, in one line of JSON; the first rank passes it on to the others.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from posttrain.endpoint.alive import SILENT_SECONDS, keep_alive
from posttrain.errors import Stopped, UserError
from posttrain.launch.failure import as_error, failure_document

_OWN_END_SECONDS = 5.0  # for a rank to end by itself once another is gone
_SAVE_SECONDS = 600.0  # the same when the other stopped on a signal: this one may still be saving
_NEWS_SECONDS = 3.0  # how much later than a collective's error its cause may be known
_HELLO_SECONDS = 10.0
_LONGEST_LINE = 1 << 20
_KEY = "lifeline"


class Store(Protocol):
    """What is needed of torch.distributed's store."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...


@dataclass(frozen=True)
class Peer:
    """A rank at the other end, and the machine that it runs on."""

    rank: int
    host: str

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.host})"


class Lifeline:
    """This rank's connections: to the first rank, or in the first to all others."""

    def __init__(self, rank: int, peers: dict[socket.socket, Peer], end: Callable[[BaseException], object]) -> None:
        """`end` ends this process for a reason that it is given; it is called from a thread of its own."""
        self._rank, self._peers, self._end = rank, peers, end
        self._cause: dict[str, Any] | None = None
        self._known, self._ending = threading.Event(), threading.Event()
        for line in peers:
            line.settimeout(None)
            keep_alive(line)
        threading.Thread(target=self._listen, name="lifeline", daemon=True).start()

    def cause_of(self, error: BaseException) -> BaseException:
        """Return why this rank really ends: another's end, where that broke what this one was doing."""
        self._ending.set()
        if not isinstance(error, RuntimeError):  # as all are that torch.distributed raises
            return error
        self._known.wait(_NEWS_SECONDS)
        return error if self._cause is None else as_error(self._cause)

    def leave(self, error: BaseException | None = None) -> None:
        """Say that this rank ends, and why; without an error it has done its work."""
        self._ending.set()
        self._tell({"code": 0} if error is None else self._cause or failure_document(self._rank, error))

    def _tell(self, document: dict[str, Any]) -> None:
        words = json.dumps(document).encode() + b"\n"
        for line in self._peers:
            with suppress(OSError):  # it is gone already
                line.sendall(words)

    def _listen(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for line, peer in self._peers.items():
                waiting.register(line, selectors.EVENT_READ, peer)
            while waiting.get_map():
                for key, _ in waiting.select():
                    waiting.unregister(key.fileobj)
                    document = _last_words(key.fileobj, key.data)  # type: ignore[arg-type]  # sockets alone are registered
                    if document["code"] and self._cause is None:
                        self._lose(document)

    def _lose(self, document: dict[str, Any]) -> None:
        """End this process for another's reason, unless it is ending already."""
        self._cause = document
        self._known.set()
        if self._ending.is_set():
            return
        self._tell(document)
        error = as_error(document)
        if not self._ending.wait(_SAVE_SECONDS if isinstance(error, Stopped) else _OWN_END_SECONDS):
            self._end(error)


def open_lifeline(
    store: Store, *, rank: int, world_size: int, address: str, seconds: float, end: Callable[[BaseException], object]
) -> Lifeline:
    """Return this rank's lifeline, once all are connected; the first rank is to be reached at `address`.

    The store carries the port and a word by which the ranks know each other. Raises UserError when the others have not
    come after `seconds`.
    """
    me = {"rank": rank, "host": socket.gethostname()}
    if rank == 0:
        return Lifeline(rank, _accept_all(store, world_size, me, time.monotonic() + seconds), end)
    port, word = json.loads(store.get(_KEY))
    try:
        line = socket.create_connection((address, port), timeout=seconds)
        _send(line, {**me, "word": word})
        first = _receive(line)
    except (OSError, ValueError) as error:
        raise UserError(
            f"rank {rank} ({me['host']}) cannot reach rank 0 at {address}:{port}: {error}",
            fix="the machines of a run must reach each other on every port",
        ) from None
    return Lifeline(rank, {line: Peer(0, first["host"])}, end)


def _accept_all(store: Store, world_size: int, me: dict[str, Any], deadline: float) -> dict[socket.socket, Peer]:
    peers: dict[socket.socket, Peer] = {}
    word = secrets.token_hex()
    with _listening(world_size) as listener:
        store.set(_KEY, json.dumps([listener.getsockname()[1], word]))
        while len(peers) < world_size - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                line, _ = listener.accept()
            except TimeoutError:
                came = {0, *(peer.rank for peer in peers.values())}
                missing = ", ".join(str(other) for other in range(world_size) if other not in came)
                raise UserError(
                    f"rank 0 ({me['host']}) was not reached by rank {missing}",
                    fix="the machines of a run must reach each other on every port",
                ) from None
            line.settimeout(_HELLO_SECONDS)
            try:
                hello = _receive(line)
                if hello["word"] == word:
                    _send(line, me)
                    peers[line] = Peer(hello["rank"], hello["host"])
            except (OSError, ValueError, KeyError, TypeError):  # somebody else
                line.close()
    return peers


@contextmanager
def _listening(most: int) -> Iterator[socket.socket]:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, backlog=most, dualstack_ipv6=both) as listener:
        yield listener


def _last_words(line: socket.socket, peer: Peer) -> dict[str, Any]:
    """Return why the rank at the other end ends; code 0 when it is done."""
    try:
        return _receive(line)
    except (ConnectionResetError, ValueError):
        return _gone(peer, f"{peer} is gone: its process ended without a word", "its own output may say why")
    except OSError:
        silent = f"nothing was heard of {peer} for {SILENT_SECONDS} seconds: its machine is down or cut off"
        return _gone(peer, silent, "the same command goes on from the last checkpoint, once it is back")


def _gone(peer: Peer, message: str, fix: str) -> dict[str, Any]:
    return {"rank": peer.rank, "host": peer.host, "code": 1, "message": message, "where": None, "fix": fix}


def _send(line: socket.socket, document: dict[str, Any]) -> None:
    line.sendall(json.dumps(document).encode() + b"\n")


def _receive(line: socket.socket) -> dict[str, Any]:
    """Return the next line's document; raises ValueError where the connection ends before it does."""
    with line.makefile("rb", buffering=0) as words:  # no more than this line
        document: dict[str, Any] = json.loads(words.readline(_LONGEST_LINE))
    return document
