"""A row as what makes it a duplicate of another: its prompt and its answer in words, and what must be the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np

from posttrain.data.identity import content_key, prompt_key, prompt_turns
from posttrain.data.ngrams import ngrams, numbers, words
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem, Record

By = Literal["content", "prompt"]

SHINGLE = 3
"""Words of a shingle."""

_MARKS = frozenset('.,;:!?"“”…。，、；：！？')  # noqa: RUF001  (their full-width forms too)


@dataclass(frozen=True)
class Compared:
    """One row, to be compared: `exact` and `normalised` are digests, the latter None where no word is left.

    `prompt` and `answer` are sets of shingles, each ascending; those of rows that must not be one share none. `text`
    is for a reader.
    """

    exact: bytes
    normalised: bytes | None
    prompt: np.ndarray
    answer: np.ndarray
    text: str


def compared(record: Record, by: By, *, same_numbers: bool = False) -> Compared:
    """`record` by all that it says, or by its ``prompt`` alone (before the first answer, without the system's).

    System prompts, tools, labels and the answers of problems must be the same, and with `same_numbers` the words that
    have digits: they are no text to be alike in. Of a problem without ``answer``, the other fields that are texts are
    its answer.
    """
    asked = prompt_turns(record)
    said = [("", turn) for turn in asked]
    answered = _answer(record, len(asked)) if by == "content" else []
    apart = _apart(record) if by == "content" else b""
    if same_numbers:
        figures = [word for _, turn in (*said, *answered) for word in words(_text(turn)) if _has_digit(word)]
        apart += "\n".join(sorted(figures)).encode("utf-8", "surrogatepass")
    prompt, answer = (_numbers(each, apart) for each in (said, answered))
    exact = content_key(record) if by == "content" else prompt_key(record)
    key = blake2b(apart + b"".join(part.tobytes() for part in (*prompt, np.empty(1), *answer)), digest_size=16)
    return Compared(
        exact[:16],
        key.digest() if any(map(len, (*prompt, *answer))) else None,
        shingles(prompt),
        shingles(answer),
        "\n".join(f"{turn['role']}: {_text(turn)}" for _, turn in (*said, *answered)),
    )


def shingles(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The set of runs of `SHINGLE` words of each part, ascending; a shorter part is one run."""
    listed = [ngrams(part, min(SHINGLE, len(part))) for part in parts if len(part)]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *listed]))


def normalised(text: str) -> list[str]:
    """The words of `text`, lower-cased, without the punctuation of sentences.

    Signs that a formula or code may mean stay: brackets, operators, apostrophes, what stands between digits.
    """
    listed = words(text.replace("’", "'"))  # noqa: RUF001
    return [word for at, word in enumerate(listed) if word not in _MARKS or _means(listed, at)]


def _means(listed: list[str], at: int) -> bool:
    """Whether a mark is more than punctuation: in ``3.5`` and ``3, 5``, or the factorial of ``5!``."""
    if at == 0 or not listed[at - 1][-1].isdigit():
        return False
    return listed[at] == "!" or (at + 1 < len(listed) and listed[at + 1][0].isdigit())


def _answer(record: Record, asked: int) -> list[tuple[str, Message]]:
    if isinstance(record, Chat):
        turns = [turn for turn in record.messages if turn["role"] != "system"]
        return [("", turn) for turn in turns[asked:]]
    if isinstance(record, Preference):
        return [*(("chosen", turn) for turn in record.chosen), *(("rejected", turn) for turn in record.rejected)]
    if isinstance(record, Feedback):
        return [("", turn) for turn in record.completion]
    if record.fields.get("answer") is not None:
        return []
    said = {turn["content"] for turn in record.prompt}
    # One word is a name or an id.
    texts = {name: text for name, text in record.fields.items() if isinstance(text, str) and len(text.split()) > 1}
    return [("", {"role": name, "content": text}) for name, text in sorted(texts.items()) if text not in said]


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _apart(record: Record) -> bytes:
    turns = record.messages if isinstance(record, Chat) else record.prompt
    system = [turn["content"] for turn in turns if turn["role"] == "system"]
    label = record.label if isinstance(record, Feedback) else None
    answer = record.fields.get("answer") if isinstance(record, Problem) else None
    if not system and record.tools is None and label is None and answer is None:
        return b""
    said = json.dumps([system, record.tools, label, answer], sort_keys=True, default=str)
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _numbers(turns: list[tuple[str, Message]], apart: bytes) -> list[np.ndarray]:
    """The words of each turn as numbers, which differ by its role, its side and what is `apart`."""
    listed = []
    for side, turn in turns:
        salt = numbers([f"{turn['role']} {side} {apart.hex()}"])[0]
        listed.append(numbers(normalised(_text(turn))) ^ salt)
    return listed


def _text(turn: Message) -> str:
    calls = turn.get("tool_calls")
    return turn["content"] + (f"\n{json.dumps(calls, ensure_ascii=False, default=str)}" if calls else "")
