"""vLLM's own server that draws by the weights of a model here; what is said of one that cannot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from posttrain.engines.sampling import Prompt, Sampling  # noqa: E402
from posttrain.engines.vllm_server import Server, check  # noqa: E402
from posttrain.errors import UserError  # noqa: E402

RIGHT: dict[str, Any] = {"length": 100, "temperature": 1.0, "top_p": 1.0, "tied": False}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_no_server_is_said() -> None:
    with pytest.raises(UserError, match="does not answer") as error:
        check(f"http://127.0.0.1:{free_port()}", **RIGHT)
    assert error.value.where == "rollout.url"
    assert "VLLM_SERVER_DEV_MODE=1 vllm serve" in str(error.value.fix)


def test_a_server_that_is_not_in_development_mode_is_said() -> None:
    class Missing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Missing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="has no /server_info") as error:
            check(f"http://127.0.0.1:{server.server_port}", **RIGHT)
        server.shutdown()
    assert "VLLM_SERVER_DEV_MODE=1" in str(error.value.fix)


class Served:
    """The built-in model with an output head of its own, here and in a server."""

    def __init__(self, place: Path) -> None:
        from posttrain.model.load import load_model
        from posttrain.model.resolve import resolve
        from posttrain.model.tokenizer import load_tokenizer
        from posttrain.recipe.schema import Model

        settings, parent = Model(dtype="float32"), resolve("builtin:tiny")
        self.tokenizer = load_tokenizer(parent, settings)
        self.model: Any = load_model(parent, settings, self.tokenizer)
        self.model.config.tie_word_embeddings = False
        self.model.lm_head.weight = torch.nn.Parameter(self.model.model.embed_tokens.weight.detach().clone())
        self.model.save_pretrained(place)
        self.tokenizer.save_pretrained(place)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            str(place),
            "--port",
            str(port),
        ]
        command += ["--dtype", "float32", "--max-model-len", "256", "--max-num-seqs", "16", "--enforce-eager"]
        more = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        with (place / "log").open("w") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **more}, stdout=log, stderr=log)
        deadline = time.monotonic() + 540
        while not self._is_up():
            assert self.process.poll() is None and time.monotonic() < deadline, (place / "log").read_text()[-2000:]
            time.sleep(1)

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health") as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("served"))
    yield found
    found.process.terminate()
    found.process.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
def test_it_draws_by_the_weights_it_took_last(served: Served, tmp_path: Path) -> None:
    from posttrain.engines.transformers import engine

    check(served.url, **RIGHT)
    for changes, message in (
        ({"length": 300}, "takes 256 tokens of prompt and completion, and 300 are needed"),
        ({"temperature": 0.5}, "tells raw_logprobs, and the trainer needs processed_logprobs"),
        ({"tied": True}, "runs on a CPU, where vLLM does not reload an output head"),
    ):
        with pytest.raises(UserError, match=message):
            check(served.url, **{**RIGHT, **changes})

    turns = [[{"role": "user", "content": text}] for text in ("Hello!", "What is 23 + 14?", "Say blue backwards.")]
    ids = [served.tokenizer.apply_chat_template(t, add_generation_prompt=True)["input_ids"] for t in turns]
    prompts = [Prompt([], each) for each in ids]
    server = Server(served.url, tmp_path / "policy", served.model, served.tokenizer, "float32")

    def differs(sampling: Sampling) -> float:
        """Return the largest difference of log-probabilities from the model here; infinity where tokens differ."""
        expected = dict(engine(served.model, served.tokenizer)(prompts, sampling))
        with server.drawing() as sample:
            drawn = dict(sample(prompts, sampling))
        pairs = [(a, b) for i in expected for a, b in zip(expected[i], drawn[i], strict=True)]
        if any((a.ids, a.truncated) != (b.ids, b.truncated) for a, b in pairs):
            return float("inf")
        return max(abs(x - y) for a, b in pairs for x, y in zip(a.logprobs, b.logprobs, strict=True))

    greedy = Sampling(1, max_new_tokens=24, temperature=0.0, logprobs=True)
    assert differs(greedy) < 1e-4
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in served.model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    assert differs(greedy) > 1e-2
    server.take(served.model)
    assert differs(greedy) < 1e-4

    drawing = Sampling(4, max_new_tokens=16, batch_size=5, seed=3, logprobs=True)
    with server.drawing() as sample:
        first, again = dict(sample(prompts, drawing)), dict(sample(prompts, drawing))
    assert first == again
    assert all(len({completion.ids for completion in group}) > 1 for group in first.values())
