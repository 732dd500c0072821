"""For models whose cache is not one that rows can leave and join: transformers' own `generate`, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from posttrain.engines.draw import draw, uniforms
from posttrain.engines.rows import End, Row
from posttrain.engines.sampling import Sampling


class WholeBatch:
    """A batch whose rows all stay to the end of the longest: it has none between one change and the next."""

    rows: Sequence[Row] = ()
    live: Sequence[Row] = ()

    def __init__(self, model: Any, sampling: Sampling, end: End) -> None:
        self._model, self._sampling, self._end = model, sampling, end

    def clear(self) -> None:
        """There is nothing to forget."""

    def step(self) -> list[Row]:
        return []

    @torch.inference_mode()
    def change(self, joining: Sequence[Row]) -> list[Row]:
        """Decode these rows to their ends and return them."""
        width = max(len(row.ids) for row in joining)
        padded = [[self._end.pad] * (width - len(row.ids)) + list(row.ids) for row in joining]
        mask = [[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in joining]
        draws = _Draws(self._sampling, joining, width, self._end.length)
        ids = self._model.generate(
            input_ids=torch.tensor(padded, device=self._model.device),
            attention_mask=torch.tensor(mask, device=self._model.device),
            generation_config=self._config(),
            logits_processor=LogitsProcessorList([draws]),
            stopping_criteria=StoppingCriteriaList([_Strings(self._end, width)]),
            synced_gpus=False,  # ranks decode different numbers of batches; ZeRO-3's weights are gathered around us
        )
        for row, new, said in zip(joining, ids[:, width:].tolist(), draws.said(), strict=True):
            any(map(self._end.take, repeat(row), new, said))  # up to its end; padding follows
        return list(joining)

    def _config(self) -> GenerationConfig:
        """Return a config that says everything: what it left out, generate would take from the model's own."""
        return GenerationConfig(
            max_new_tokens=self._end.length,
            eos_token_id=sorted(self._end.tokens) or None,
            pad_token_id=self._end.pad,
            do_sample=False,  # _Draws leaves one token
            top_k=None,
            repetition_penalty=1.0,
            disable_compile=True,
        )


class _Draws(LogitsProcessor):
    """Leave each row the token that its own random number draws."""

    def __init__(self, sampling: Sampling, rows: Sequence[Row], width: int, length: int) -> None:
        self._sampling, self._width = sampling, width
        self._numbers = torch.stack([uniforms(row.seed, length) for row in rows])
        self._said: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        numbers = self._numbers[:, input_ids.shape[1] - self._width].to(scores.device)
        how = self._sampling
        tokens, said = draw(scores, numbers, temperature=how.temperature, top_p=how.top_p, logprobs=how.logprobs)
        if said is not None:
            self._said.append(said)
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens[:, None], 0.0)

    def said(self) -> Iterable[Iterable[float | None]]:
        """Return the log-probabilities of each row's tokens so far, None for each where they are not asked for."""
        return torch.stack(self._said, 1).tolist() if self._said else repeat(repeat(None), len(self._numbers))


class _Strings(StoppingCriteria):
    """A row is done when its text has a stop string."""

    def __init__(self, end: End, width: int) -> None:
        self._end, self._width = end, width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        found = [self._end.has_string(new) for new in input_ids[:, self._width :].tolist()]
        return torch.tensor(found, device=input_ids.device)
