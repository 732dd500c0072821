"""Rows that are decoded together: they join after a prefill, advance a token at a time, and go when they are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache

from posttrain.engines.cache import Part, can_close_up, close_up, forward_parameters, merge
from posttrain.engines.draw import draw, uniforms
from posttrain.engines.rows import End, Row
from posttrain.engines.sampling import Sampling

_PREFILL = 2048  # tokens of one forward pass, padding included: work enough for any processor, little padding


@dataclass
class _Now:
    """Where each row of a batch is. Tensors have one element a row, `numbers` one row of random numbers."""

    cache: Cache
    padded: bool
    cached: torch.Tensor
    tokens: torch.Tensor  # the last one drawn, not in the cache yet
    drawn: torch.Tensor
    numbers: torch.Tensor


class Batch:
    """The rows being decoded. The cache holds all of their tokens but each one's last."""

    def __init__(self, model: Any, sampling: Sampling, end: End) -> None:
        self._model, self._sampling, self._end = model, sampling, end
        self._takes = forward_parameters(model)
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.rows: list[Row] = []
        self._now: _Now | None = None

    @property
    def live(self) -> list[Row]:
        return [row for row in self.rows if not row.done]

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Draw the next token of every row; return the rows that this ended.

        The others close up, but where layers have a window: there a row that is done is carried along until the next
        change, and what is drawn for it is nobody's.
        """
        now = self._now
        assert now is not None, "no rows"
        mask = _mask(now.cached + 1, now.cache.get_seq_length() + 1) if now.padded else None
        logits = self._forward(now.tokens[:, None], mask, now.cached[:, None], now.cache)
        now.tokens, said = self._draw(logits, now.numbers.gather(1, now.drawn[:, None])[:, 0])
        now.cached = now.cached + 1
        now.drawn = (now.drawn + 1).clamp(max=now.numbers.shape[1] - 1)
        drawn = zip(self.rows, now.tokens.tolist(), said, strict=True)
        ended = [row for row, token, logprob in drawn if not row.done and self._end.take(row, token, logprob)]
        if ended and can_close_up(now.cache):
            self._close_up(now)
        return ended

    @torch.inference_mode()
    def change(self, joining: Sequence[Row]) -> list[Row]:
        """Let go of the rows that are done and take `joining` in; return those whose first token ended them."""
        rows, parts = self.live, []
        if self._now and rows:
            parts.append(Part(self._now.cache, [i for i, row in enumerate(self.rows) if not row.done]))
        for group in _in_passes(joining):
            cache, logits = self._prefill([same[0].ids for same in group])
            joined = [(place, row) for place, same in enumerate(group) for row in same]
            numbers = torch.stack([self._numbers(row)[0] for _, row in joined]).to(logits.device)
            tokens, said = self._draw(logits[[place for place, _ in joined]], numbers)
            drawn = zip(joined, tokens.tolist(), said, strict=True)
            begun = [pair for pair, token, logprob in drawn if not self._end.take(pair[1], token, logprob)]
            if begun:
                parts.append(Part(cache, [place for place, _ in begun]))
                rows += [row for _, row in begun]
        self._hold(rows, parts)
        return [row for row in joining if row.done]

    def _close_up(self, now: _Now) -> None:
        """Let go of the rows that are done: the last ones take their places."""
        count = len(self.live)
        if count == 0:
            self.clear()
            return
        free = [i for i, row in enumerate(self.rows[:count]) if row.done]
        last = [i for i, row in enumerate(self.rows) if i >= count and not row.done]
        for i, j in zip(free, last, strict=True):
            self.rows[i] = self.rows[j]
        del self.rows[count:]
        places, rows = self._tensor(free), self._tensor(last)
        for name in ("cached", "tokens", "drawn", "numbers"):
            values = getattr(now, name)
            values[places] = values[rows]
            setattr(now, name, values[:count])
        lengths = [row.cached for row in self.rows]
        now.padded = min(lengths) < max(lengths)
        close_up(now.cache, places, rows, count, max(lengths))

    def _hold(self, rows: list[Row], parts: list[Part]) -> None:
        """Decode these rows from now on, which the parts have in this order."""
        self.clear()
        if not rows:
            return
        self.rows = rows
        lengths = [row.cached for row in rows]
        self._now = _Now(
            cache=merge(parts, max(lengths)),
            padded=min(lengths) < max(lengths),
            cached=self._tensor(lengths),
            tokens=self._tensor([row.new[-1] for row in rows]),
            drawn=self._tensor([len(row.new) for row in rows]),
            numbers=torch.stack([self._numbers(row) for row in rows]).to(self._model.device),
        )

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Cache, torch.Tensor]:
        """Return a cache of the prompts, one row each, and the logits of the token after each."""
        width = max(map(len, prompts))
        ids = self._tensor([[self._end.pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = _mask(self._tensor([len(prompt) for prompt in prompts]), width)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        even = min(map(len, prompts)) == width
        return cache, self._forward(ids, None if even else mask, positions, cache)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, cache: Cache) -> Any:
        """Return the logits after the last column, and have the cache take the columns in."""
        optional: dict[str, Any] = {"position_ids": positions, "logits_to_keep": 1}
        taken = {name: value for name, value in optional.items() if name in self._takes}
        output = self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **taken)
        return output.logits[:, -1].to(ids.device)  # where a model is spread, its end is elsewhere

    def _numbers(self, row: Row) -> torch.Tensor:
        """Return the row's random numbers, one for each token it may draw."""
        if self._sampling.temperature == 0:
            return torch.zeros(self._end.length)
        if row.numbers is None:
            row.numbers = uniforms(row.seed, self._end.length)
        return row.numbers

    def _draw(self, logits: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, Sequence[float | None]]:
        """Return each row's token and its log-probability, None where that is not asked for."""
        how = self._sampling
        tokens, said = draw(logits, numbers, temperature=how.temperature, top_p=how.top_p, logprobs=how.logprobs)
        return tokens, [None] * len(logits) if said is None else said.tolist()

    def _tensor(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)


def _in_passes(rows: Sequence[Row]) -> Iterator[list[list[Row]]]:
    """Yield the rows of each prefill pass, those of one prompt together, which is computed once."""
    prompts: dict[int, list[Row]] = {}
    for row in rows:
        prompts.setdefault(row.index, []).append(row)
    group: list[list[Row]] = []
    for same in prompts.values():
        width = max(len(other[0].ids) for other in [*group, same])
        if group and width * (len(group) + 1) > _PREFILL:
            yield group
            group = []
        group.append(same)
    if group:
        yield group


def _mask(lengths: torch.Tensor, columns: int) -> torch.Tensor:
    """Return the attention mask of rows of these lengths that end in the last column."""
    column = torch.arange(columns, device=lengths.device)
    return (column >= columns - lengths[:, None]).long()
