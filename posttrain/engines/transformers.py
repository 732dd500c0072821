"""Sampling with a model loaded here: rows join and leave a running batch, and each draws by its own random numbers.

So a completion depends, up to rounding, on the seed, its prompt and its number alone: not on the batch size, nor on
what else is in the batch.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from posttrain.engines.rows import End, Row, in_groups, rows_of
from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.engines.batch import Batch
    from posttrain.engines.whole_batch import WholeBatch

_SPARE = 8  # rows join when one place in so many is free: that copies the cache, which costs about as much as a step


def engine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Engine:
    """Return the engine that samples from a loaded model, and leaves it and the caller's random state as they were."""
    from posttrain.engines.attention import decode_attention
    from posttrain.engines.packed import packed_linears

    def sample(prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        end = End(frozenset(stop_tokens(model, tokenizer)), sampling.stop, sampling.max_new_tokens, tokenizer)
        with _evaluating(model), packed_linears(model), decode_attention(model):
            rows = rows_of(prompts, sampling)
            yield from in_groups(_finished(_batch(model, sampling, end), rows, sampling.batch_size), end, sampling)

    return sample


def _batch(model: PreTrainedModel, sampling: Sampling, end: End) -> Batch | WholeBatch:
    """Return an empty batch that the model can decode."""
    from posttrain.engines.batch import Batch
    from posttrain.engines.cache import can_merge
    from posttrain.engines.whole_batch import WholeBatch

    if can_merge(model):
        return Batch(model, sampling, end)
    _say_once(
        f"{type(model).__name__} keeps states that cannot be cut: each batch is decoded to its longest completion"
    )
    return WholeBatch(model, sampling, end)


def _finished(batch: Batch | WholeBatch, rows: Sequence[Row], limit: int) -> Iterator[Row]:
    """Yield the rows as they end, of which at most `limit` are decoded together: fewer, where memory runs out.

    Raises UserError when it runs out for one row alone.
    """
    import torch

    waiting = deque(rows)
    while waiting or batch.rows:
        live, joining = batch.live, []
        full = limit if waiting else len(batch.rows)
        change = full - len(live) >= max(full // _SPARE, 1)
        if change:
            joining = [waiting.popleft() for _ in range(min(limit - len(live), len(waiting)))]
        try:
            finished = batch.change(joining) if change else batch.step()
        except torch.OutOfMemoryError:
            finished = None  # and out of this block, whose traceback holds on to memory
        if finished is None:
            limit = _less(len(live) + len(joining))
            for row in [*live, *joining]:
                row.restart()  # its numbers are its own: it will draw the same
            waiting.extendleft(reversed([*live, *joining]))
            batch.clear()
            torch.cuda.empty_cache()
        else:
            yield from finished


def _less(rows: int) -> int:
    """Return how many rows to decode together after memory ran out with so many."""
    if rows == 1:
        raise UserError(
            "the GPU has too little memory to decode one completion",
            where="rollout",
            fix="lower rollout.max_new_tokens or rollout.max_prompt_tokens",
        )
    print(f"out of GPU memory with {rows} completions together: going on with {rows // 2}", file=sys.stderr)
    return rows // 2


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Have the model in evaluation mode, and afterwards each of its modules in the mode it was in."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that end a completion."""
    ids = model.generation_config.eos_token_id
    ids = tokenizer.eos_token_id if ids is None else ids
    return [ids] if isinstance(ids, int) else list(ids or ())


@cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)
