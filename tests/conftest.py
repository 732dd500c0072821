"""What the tests share: real data beside the repository, and servers of chat completions."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared rows are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that read it are skipped where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with the real data sets")
    return folder


class ChatServer:
    """The server of chat_server.py, in a process of its own."""

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it, after `kill` at the address that it had."""
        command = [sys.executable, str(REPOSITORY / "tests" / "chat_server.py"), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def script(self, *steps: dict[str, Any]) -> None:
        """Say how the next requests are answered, the last step from then on, and forget those before."""
        data = json.dumps(steps).encode()
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/script", data=data) as answer:
            answer.read()

    def seen(self) -> list[dict[str, Any]]:
        """Return the requests since `script`, each with its headers, its body and when it came."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/seen") as answer:
            return json.load(answer)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    """A server of chat completions that answers as a test tells it; a fresh one, and a fresh port, for each test."""
    server = ChatServer()
    yield server
    server.kill()


@contextmanager
def transformers_serve(log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """Run `transformers serve` with the built-in model; give the process, its URL and the name of its model."""
    pytest.importorskip("fastapi")
    model = str(REPOSITORY / "posttrain" / "builtin" / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w") as file:
        environ = os.environ | {"HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([*command, *options], stdout=file, stderr=file, env=environ)
    try:
        for _ in range(240):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail(f"transformers serve did not start:\n{log.read_text()}")
        yield process, f"http://127.0.0.1:{port}/v1", model
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of `transformers serve` with the built-in model, and the name that it knows the model by."""
    with transformers_serve(tmp_path_factory.mktemp("serve") / "log") as (_, url, model):
        yield url, model


@pytest.fixture
def doomed_server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """The same, with its process, for a test that kills it."""
    with transformers_serve(tmp_path / "serve.log") as server:
        yield server
