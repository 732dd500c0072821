"""Real connections between threads that stand for ranks: what each learns when one ends, with or without a word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from typing import Any

import pytest

from posttrain.errors import GateError, Stopped, UserError
from posttrain.launch import lifeline
from posttrain.launch.failure import RankFailed
from posttrain.launch.lifeline import Lifeline, open_lifeline

HOST = socket.gethostname()


class Store:
    """What torch's store does, within one process."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.changed = threading.Condition()

    def set(self, key: str, value: str) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def get(self, key: str) -> bytes:
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.values, timeout=10)
            return self.values[key].encode()


class Ranks:
    """Some ranks with their lifelines, and the reasons for which each was ended."""

    def __init__(self, count: int) -> None:
        self.store = Store()
        self.ended: list[Queue[BaseException]] = [Queue() for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            self.lines = list(pool.map(self.join, range(count), [count] * count))

    def join(self, rank: int, count: int) -> Lifeline:
        end = self.ended[rank].put
        return open_lifeline(self.store, rank=rank, world_size=count, address="127.0.0.1", seconds=10, end=end)

    def drop(self, rank: int) -> None:
        """End a rank as a kill does: the kernel closes what it had open."""
        for line in self.lines[rank]._peers:
            line.shutdown(socket.SHUT_RDWR)

    def reason(self, rank: int) -> BaseException:
        return self.ended[rank].get(timeout=10)

    def is_alive(self, rank: int, seconds: float = 0.5) -> bool:
        try:
            self.ended[rank].get(timeout=seconds)
        except Empty:
            return True
        return False


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "_OWN_END_SECONDS", 0.2)


@pytest.fixture
def three() -> Iterator[Ranks]:
    ranks = Ranks(3)
    yield ranks
    for line in ranks.lines:
        line.leave()


def test_all_learn_of_one_that_is_gone(three: Ranks) -> None:
    three.drop(2)
    for rank in (0, 1):
        reason = three.reason(rank)
        assert isinstance(reason, RankFailed)
        assert reason.message == f"rank 2 ({HOST}) is gone: its process ended without a word"
        assert reason.exit_code == 1


def test_all_learn_when_the_first_is_gone(three: Ranks) -> None:
    three.drop(0)
    assert {str(three.reason(rank)).partition(":")[0] for rank in (1, 2)} == {f"rank 0 ({HOST}) is gone"}


@pytest.mark.parametrize(
    ("error", "kind", "code", "text"),
    [
        (UserError("no such column", where="a.jsonl:3", fix="name it"), UserError, 2, "a.jsonl:3: no such column"),
        (GateError("every reward is 0"), GateError, 3, "every reward is 0"),
        (KeyError("loss"), RankFailed, 1, "rank 1 crashed\nKeyError: 'loss'"),
    ],
)
def test_one_says_why_it_ends(three: Ranks, error: Exception, kind: type[UserError], code: int, text: str) -> None:
    three.lines[1].leave(error)
    for rank in (0, 2):
        reason = three.reason(rank)
        assert type(reason) is kind
        assert reason.exit_code == code
        assert str(reason).startswith(text)


def test_a_stop_leaves_the_others_time_to_save(three: Ranks) -> None:
    three.lines[1].leave(Stopped(15))
    assert three.is_alive(0) and three.is_alive(2)
    broken = three.lines[0].cause_of(RuntimeError("Connection closed by peer"))
    assert isinstance(broken, Stopped) and broken.exit_code == 143


def test_what_broke_because_of_another_is_replaced(three: Ranks) -> None:
    three.drop(1)
    cause = three.lines[0].cause_of(RuntimeError("Connection closed by peer"))
    assert "rank 1" in str(cause)
    assert three.is_alive(0)  # it ends by itself


@pytest.mark.parametrize("own", [UserError("the disk is full"), KeyError("loss"), Stopped(2)])
def test_own_errors_stay(three: Ranks, own: BaseException) -> None:
    three.drop(1)
    assert three.lines[0].cause_of(own) is own


def test_leaving_together_ends_nobody(three: Ranks) -> None:
    for line in three.lines:
        line.leave()
    three.drop(0)
    assert all(three.is_alive(rank, 0.3) for rank in range(3))


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"rank 0 \(.*\) was not reached by rank 1, 2"):
        open_lifeline(Store(), rank=0, world_size=3, address="127.0.0.1", seconds=0.2, end=print)


def test_strangers_are_not_let_in() -> None:
    store, ended = Store(), Queue[BaseException]()
    with ThreadPoolExecutor(2) as pool:
        asked: dict[str, Any] = {"world_size": 2, "address": "127.0.0.1", "seconds": 10, "end": ended.put}
        first = pool.submit(open_lifeline, store, rank=0, **asked)
        port = int(store.get("lifeline").decode().strip("[").partition(",")[0])
        for words in (b"", b"GET / HTTP/1.1\n", b"[]\n", b'{"rank": 1, "host": "x", "word": "guessed"}\n'):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(words)
        second = pool.submit(open_lifeline, store, rank=1, **asked)
        lines = [first.result(timeout=10), second.result(timeout=10)]
    assert [str(peer) for peer in lines[0]._peers.values()] == [f"rank 1 ({HOST})"]
    for line in lines:
        line.leave()
