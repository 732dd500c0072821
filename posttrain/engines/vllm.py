"""Sampling with vLLM, in this process: which is made for GPUs.

vLLM draws each completion with a generator of its own, so a completion depends, up to rounding, on the seed, its
prompt and its number alone. They are not the draws of the transformers engine, which inverts other random numbers.
"""

from __future__ import annotations

import os
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from posttrain.engines.rows import End, Row, in_groups, rows_of
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling
from posttrain.errors import UserError
from posttrain.model.reading import reading
from posttrain.model.resolve import Parent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LENGTH = 8192  # tokens of prompt and completion to make room for; more where they need it, which takes a new engine

# What vLLM reads when it is imported. In one process it schedules the same each time, so rounding repeats too.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "4",  # GiB, without a GPU; left out, vLLM wants nearly all memory
}


def check(parent: Parent) -> None:
    """Raise UserError when vLLM is not installed, or cannot take this model as it lies there."""
    if not parent.is_plain:
        what = "a GGUF file" if parent.gguf_file else "an adapter"
        raise UserError(
            f"vllm takes whole models, and {parent.name} is {what}",
            where="rollout.engine",
            fix="merge it into a model directory, or use rollout.engine: transformers",
        )
    check_installed()


def check_installed() -> None:
    """Raise UserError when vLLM is not installed."""
    if find_spec("vllm") is None:
        raise UserError(
            "needs the package vllm, which is not installed",
            where="rollout.engine",
            fix='install it with: pip install "posttrain[vllm]"',
        )


@contextmanager
def engine(parent: Parent, dtype: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[Engine]:
    """Give the engine that samples from a plain model in this dtype, which vLLM loads at the first prompt; its memory
    is given back at the end."""
    loaded = _Loaded(parent, dtype)
    try:
        yield sampler(loaded.with_room, frozenset(_stop_tokens(parent, tokenizer)), tokenizer)
    finally:
        loaded.close()


def sampler(
    with_room: Callable[[int, Sampling], Any], stops: frozenset[int], tokenizer: PreTrainedTokenizerBase
) -> Engine:
    """Return the engine that samples with the ``vllm.LLM`` that `with_room` gives for the tokens of the longest prompt
    and the sampling."""

    def sample(prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        rows = rows_of(prompts, sampling)
        end = End(stops, sampling.stop, sampling.max_new_tokens, tokenizer)
        llm = with_room(max((len(row.ids) for row in rows), default=0), sampling)
        yield from in_groups(_finished(llm.llm_engine, rows, sampling, end), end, sampling)

    return sample


class _Loaded:
    """The model in vLLM, which must know when it loads one how long and how many its rows will be."""

    def __init__(self, parent: Parent, dtype: str) -> None:
        self._parent, self._dtype = parent, dtype
        self._length = self._rows = 0
        self._llm: Any = None

    def with_room(self, longest: int, sampling: Sampling) -> Any:
        """Return the ``vllm.LLM``, loaded anew if it has too little room: `longest` is the longest prompt's tokens.

        Raises UserError for a prompt that fills the model's context.
        """
        most, needed = self._context(), longest + sampling.max_new_tokens
        if longest >= most:
            raise UserError(
                f"a prompt has {longest:,} tokens, and {self._parent.name} takes {most:,} with the completion",
                where="rollout.max_prompt_tokens",
                fix=f"set it below {most}: problems with longer prompts are then left out",
            )
        if needed > most:
            print(f"vllm ends completions where prompt and completion together have {most:,} tokens", file=sys.stderr)
        if self._llm is None or min(needed, most) > self._length or sampling.batch_size > self._rows:
            self.close()
            self._length, self._rows = min(most, max(needed, _LENGTH)), sampling.batch_size
            self._llm = self._load()
        return self._llm

    def _context(self) -> int:
        """Return how many tokens the model was made for."""
        from transformers import AutoConfig

        with reading(self._parent):
            config = AutoConfig.from_pretrained(
                self._parent.path, revision=self._parent.revision or "main", trust_remote_code=False
            )
        return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or sys.maxsize

    def _load(self) -> Any:
        revision = self._parent.revision
        with reading(self._parent):
            return load(
                self._parent.path,
                self._dtype,
                length=self._length,
                rows=self._rows,
                revision=revision,
                tokenizer_revision=revision,
            )

    def close(self) -> None:
        """Free the model and its cache; another may be loaded then."""
        if self._llm is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        cleanup_dist_env_and_memory()


def load(path: str, dtype: str, *, length: int, rows: int, **settings: Any) -> Any:
    """Return a ``vllm.LLM`` of the model at `path`, for `rows` completions at a time of at most `length` tokens with
    their prompts. The caller's random state and number of threads stay as they were."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import torch
    from vllm import LLM

    with _as_it_was():
        return LLM(
            path,
            dtype=dtype,
            max_model_len=length,
            max_num_seqs=rows,
            # A prompt that is cut takes random numbers for each piece, and vLLM can rewind only a GPU's.
            enable_chunked_prefill=False,
            max_num_batched_tokens=max(length, rows, _LENGTH),
            generation_config="vllm",  # what samples is the recipe, not the model's own settings
            enforce_eager=not torch.cuda.is_available(),  # compiling takes longer than most looks on a CPU
            use_tqdm_on_load=False,
            trust_remote_code=False,
            **settings,
        )


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Take back what vLLM does to a process that loads it: it seeds every generator, and on a CPU it replaces
    ``torch.set_num_threads``."""
    import numpy as np
    import torch

    states, set_num_threads = (random.getstate(), np.random.get_state()), torch.set_num_threads
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_num_threads = set_num_threads


def _finished(core: Any, rows: Sequence[Row], sampling: Sampling, end: End) -> Iterator[Row]:
    """Yield the rows as they end. At most ``sampling.batch_size`` are decoded together."""
    waiting, running = deque(rows), dict[str, Row]()
    try:
        while waiting or running:
            while waiting and len(running) < sampling.batch_size:
                row = waiting.popleft()
                name = f"{row.index}-{row.sample}"
                core.add_request(name, {"prompt_token_ids": list(row.ids)}, _parameters(row, sampling, end))
                running[name] = row
            for output in core.step():
                row = running.pop(output.request_id)
                drawn = output.outputs[0]
                said = drawn.logprobs or [None] * len(drawn.token_ids)
                for token, of in zip(drawn.token_ids, said, strict=True):  # up to its end, as we read it
                    if end.take(row, token, of[token].logprob if of else None):
                        break
                yield row
    finally:
        if running:
            core.abort_request(list(running))


def _parameters(row: Row, sampling: Sampling, end: End) -> Any:
    """Return one row's ``vllm.SamplingParams``. Only its tokens are read: the text is ours, as with every engine."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=row.seed,
        max_tokens=sampling.max_new_tokens,
        stop=list(end.strings) or None,
        stop_token_ids=sorted(end.tokens),
        ignore_eos=True,  # those above are all
        detokenize=bool(end.strings),
        logprobs=0 if sampling.logprobs else None,  # of the drawn token alone
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _stop_tokens(parent: Parent, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what a loaded model's generation config would stop at (`load_model`), without the model."""
    from transformers import AutoConfig, GenerationConfig

    from posttrain.model.tokenizer import stop_token_ids

    revision = parent.revision or "main"
    with reading(parent):
        try:
            settings = GenerationConfig.from_pretrained(parent.path, revision=revision)
        except OSError:  # it has none
            settings = GenerationConfig.from_model_config(
                AutoConfig.from_pretrained(parent.path, revision=revision, trust_remote_code=False)
            )
    return stop_token_ids(tokenizer, settings.eos_token_id)
