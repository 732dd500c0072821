"""One row: a sample of a prompt on its way, and where it ends; from prompts to rows, and from rows to groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from posttrain.engines.sampling import Completion, Prompt, Sampling, seed_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(eq=False)
class Row:
    """Sample number `sample` of the prompt with this `index` and these token ids. `new`: the tokens drawn so far;
    `logprobs`: theirs, where they are asked for."""

    index: int
    sample: int
    ids: Sequence[int]
    seed: int
    new: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    done: bool = False
    numbers: torch.Tensor | None = None  # the random ones it draws by

    @property
    def cached(self) -> int:
        """The tokens that a cache holds of it: all but the last drawn, which the model has not seen."""
        return len(self.ids) + len(self.new) - 1

    def restart(self) -> None:
        self.new, self.logprobs, self.done = [], [], False


@dataclass(frozen=True)
class End:
    """What ends a completion: an end-of-turn token, a string in its text, or its length in tokens."""

    tokens: frozenset[int]
    strings: tuple[str, ...]
    length: int
    tokenizer: PreTrainedTokenizerBase

    @property
    def pad(self) -> int:
        """A token to fill up with, where nothing looks."""
        return self.tokenizer.pad_token_id or 0

    def take(self, row: Row, token: int, logprob: float | None = None) -> bool:
        """Give a row its next token; return whether that ends it."""
        row.new.append(token)
        if logprob is not None:
            row.logprobs.append(logprob)
        row.done = token in self.tokens or len(row.new) >= self.length or self.has_string(row.new)
        if row.done:
            row.numbers = None
        return row.done

    def completion(self, row: Row) -> Completion:
        """Return what a finished row says. The token that ended it counts; the string that did is cut off."""
        text = self._text(row.new)
        cut = min((at for at in map(text.find, self.strings) if at >= 0), default=None)
        ended = row.new[-1] in self.tokens or cut is not None
        return Completion(
            text[:cut],
            len(row.new),
            truncated=not ended,
            ids=tuple(row.new),
            logprobs=tuple(row.logprobs) if row.logprobs else None,
        )

    def has_string(self, new: list[int]) -> bool:
        """Whether the text has a stop string. The last tokens are looked at first, as many as can hold one; they may
        read differently on their own, so a find is looked for in the whole."""
        if not self.strings:
            return False
        longest = max(len(string.encode()) for string in self.strings)
        for ids in (new[-longest - 8 :], new):
            text = self._text(ids)
            if not any(string in text for string in self.strings):
                return False
        return True

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def rows_of(prompts: Sequence[Prompt], sampling: Sampling) -> list[Row]:
    """Return the rows to draw, a prompt's own side by side, the longest prompts first: too little memory shows at once,
    and neighbours need little padding."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].ids), reverse=True)
    return [
        Row(index, number, prompts[index].ids, seed_of(prompts[index], number, sampling.seed))
        for index in order
        for number in range(sampling.drawn)
    ]


def in_groups(finished: Iterable[Row], end: End, sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
    """Yield (index of a prompt, its completions) once the last of its rows has ended, as an engine does."""
    groups: dict[int, dict[int, Completion]] = {}
    for row in finished:
        group = groups.setdefault(row.index, {})
        group[row.sample] = end.completion(row)
        if len(group) == sampling.drawn:
            del groups[row.index]
            yield row.index, [group[number % sampling.drawn] for number in range(sampling.samples)]
