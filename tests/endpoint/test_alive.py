"""Real connections: how long the kernel waits, and what a server that ends or is slow is taken for.

That a link which is cut in silence is noticed in that time is shown by tests/faults/two_nodes.py.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from posttrain.endpoint.alive import SILENT_SECONDS, keep_alive, patient_opener
from posttrain.engines.vllm_server import reach
from posttrain.errors import UserError


def option(line: socket.socket, name: str) -> int:
    return line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


def test_the_kernel_waits_as_long_as_stated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as line:
        keep_alive(line)
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        probes = option(line, "TCP_KEEPINTVL") * option(line, "TCP_KEEPCNT")
        assert option(line, "TCP_KEEPIDLE") + probes == SILENT_SECONDS
        assert option(line, "TCP_USER_TIMEOUT") == SILENT_SECONDS * 1000


def served(answer: Callable[[socket.socket], None]) -> str:
    """Return the URL of a server that answers one request."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        line, _ = server.accept()
        line.recv(65536)
        answer(line)
        line.close()
        server.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_answer_may_take_its_time() -> None:
    def answer(line: socket.socket) -> None:
        time.sleep(0.5)
        line.sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")

    with patient_opener().open(served(answer), timeout=10) as reply:
        assert reply.read() == b"{}"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"])
def test_a_server_that_dies_while_it_answers(said: bytes) -> None:
    with pytest.raises(UserError, match=r"the vLLM server .* does not answer"):
        reach(served(lambda line: line.sendall(said)))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-machine.invalid:8000"])
def test_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(UserError, match="does not answer") as error:
        reach(url)
    assert error.value.where == "rollout.url"
