"""A vLLM server, on other GPUs or another machine, that samples from the model in training.

The weights go there as a file that both sides see: each time, the server reads them anew. It is vLLM's own server in
its development mode, which alone lets a client change the weights.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.endpoint.alive import patient_opener
from posttrain.engines.rows import End, Row, in_groups, rows_of
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling
from posttrain.engines.transformers import stop_tokens
from posttrain.engines.weights import checkpoint_weights
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PATIENCE = 1800.0  # seconds without an answer: reading the weights of a large model takes minutes
_START = "start it with: VLLM_SERVER_DEV_MODE=1 vllm serve MODEL"


class Server:
    """The server at this address, which draws by the weights it took last. They are written to `place`, which it must
    see under the same path."""

    def __init__(
        self, url: str, place: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: str
    ) -> None:
        self._url, self._place, self._tokenizer, self._dtype = url, place.resolve(), tokenizer, dtype
        self._stops = frozenset(stop_tokens(model, tokenizer))
        self._name = str(_asked(url, "v1/models")["data"][0]["id"])

    def take(self, model: Any) -> None:
        """Give the server the weights of the model in training, which is whole here; the first rank does."""
        import torch
        from safetensors.torch import save_file

        if torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
        dtype = getattr(torch, self._dtype)
        weights = {name: weight.to("cpu", dtype).contiguous() for name, weight in checkpoint_weights(model)}
        self._place.mkdir(parents=True, exist_ok=True)
        save_file(weights, self._place / "model.safetensors", metadata={"format": "pt"})
        _asked(self._url, "collective_rpc", method="reload_weights", kwargs={"weights_path": str(self._place)})
        _asked(self._url, "reset_prefix_cache", post=True)  # what it holds was computed with other weights

    @contextmanager
    def drawing(self) -> Iterator[Engine]:
        """Give the engine."""
        yield self._sample

    def _sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        end = End(self._stops, sampling.stop, sampling.max_new_tokens, self._tokenizer)
        yield from in_groups(self._finished(rows_of(prompts, sampling), sampling, end), end, sampling)

    def _finished(self, rows: Sequence[Row], sampling: Sampling, end: End) -> Iterator[Row]:
        """Yield the rows as they end."""
        with ThreadPoolExecutor(sampling.batch_size) as pool:
            asked = {pool.submit(self._choice, row, sampling, end): row for row in rows}
            try:
                for future in as_completed(asked):
                    row, choice = asked[future], future.result()
                    said = (
                        choice["logprobs"]["token_logprobs"] if sampling.logprobs else [None] * sampling.max_new_tokens
                    )
                    for token, logprob in zip(choice["token_ids"], said):  # noqa: B905 - as many as there are tokens
                        if end.take(row, token, logprob):
                            break
                    yield row
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _choice(self, row: Row, sampling: Sampling, end: End) -> dict[str, Any]:
        """Return what the server drew for one row."""
        reply = _asked(
            self._url,
            "v1/completions",
            model=self._name,
            prompt=list(row.ids),
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            min_p=0.0,
            repetition_penalty=1.0,
            seed=row.seed,
            stop=list(end.strings),
            stop_token_ids=sorted(end.tokens),
            ignore_eos=True,  # those above are all
            logprobs=0 if sampling.logprobs else None,
            return_token_ids=True,
        )
        choice: dict[str, Any] = reply["choices"][0]
        return choice


def reach(url: str) -> None:
    """Raise UserError where no server answers."""
    _asked(url, "v1/models")


def check(url: str, *, length: int, temperature: float, top_p: float, tied: bool) -> None:
    """Raise UserError where there is no such server, or it cannot draw rows of `length` tokens so that their
    log-probabilities are the trainer's."""
    settings = _asked(url, "server_info?config_format=json")["vllm_config"]
    model = settings["model_config"]
    told = model["logprobs_mode"]
    right = "processed_logprobs" if temperature != 1 else "raw_logprobs" if top_p != 1 else told
    if told != right:
        raise _wrong(url, f"tells {told}, and the trainer needs {right}", f"{_START} --logprobs-mode {right}")
    if model["max_model_len"] < length:
        longest = f"takes {model['max_model_len']:,} tokens of prompt and completion, and {length:,} are needed"
        raise _wrong(url, longest, f"{_START} --max-model-len {length}")
    if tied and settings["device_config"].get("device") == "cpu":
        raise _wrong(
            url,
            "runs on a CPU, where vLLM does not reload an output head that shares the embedding",
            "rollout.engine: vllm does",
        )


def _asked(url: str, path: str, *, post: bool = False, **body: Any) -> dict[str, Any]:
    """Return the server's reply; raises UserError where it gives none."""
    data = json.dumps(body).encode() if body or post else None
    request = urllib.request.Request(f"{url}/{path}", data, {"Content-Type": "application/json"})
    try:
        with patient_opener().open(request, timeout=_PATIENCE) as reply:
            said = reply.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise _wrong(url, f"has no /{path.partition('?')[0]}", _START) from None
        said = error.read().decode(errors="replace")[:300]
        raise _wrong(url, f"answered {error.code} to /{path}: {said}", "see its log") from None
    except (OSError, HTTPException) as error:
        raise _wrong(url, f"does not answer: {error}", _START) from None
    found: dict[str, Any] = json.loads(said) if said else {}
    return found


def _wrong(url: str, what: str, fix: str) -> UserError:
    return UserError(f"the vLLM server {url} {what}", where="rollout.url", fix=fix)
