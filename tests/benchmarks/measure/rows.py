"""Rows to train on, of lengths asked for in tokens: the same rows from the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

WORDS = """
the of and to in is you that it he was for on are as with his they at be this from have or by one had not but
what all were when we there can an your which their said if do will each about how up out them then she many
some so these would other into has more her two like him see time could no make than first been its who now
people my made over did down only way find use may water long little very after words called just where most
know
""".split()  # noqa: SIM905  # as text they can be read


class Lengths(NamedTuple):
    """Tokens of a row: of the prompt as the template writes it, and of the reply with its end of turn.

    A row's own lengths are drawn evenly from `spread` below to `spread` above these, as a share of them.
    """

    prompt: int
    reply: int
    spread: float = 0.3


class Writer:
    """Writes texts of so many tokens of a model's tokenizer."""

    def __init__(self, model: Path, seed: int) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.random = random.Random(seed)
        empty = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": ""}], add_generation_prompt=True, return_dict=False
        )
        self.template_tokens = len(empty)

    def text(self, tokens: int) -> str:
        """Return a text of at least one word and of about so many tokens: words are not cut."""
        words = [*self._sentences(tokens)]
        encoded = self.tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
        longest = max(1, tokens)
        while len(encoded) > longest and len(words) > 1:
            words = words[: max(1, min(len(words) - 1, round(len(words) * longest / len(encoded))))]
            encoded = self.tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
        return " ".join(words)

    def _sentences(self, count: int) -> Iterator[str]:
        weights = [1 / (rank + 3) for rank in range(len(WORDS))]
        words = self.random.choices(WORDS, weights, k=max(1, count))
        for index, word in enumerate(words):
            start, end = index % 9 == 0, index % 9 == 8
            yield (word.capitalize() if start else word) + ("." if end else "")

    def turns(self, role: str, tokens: int, spread: float) -> list[dict[str, str]]:
        """Return one turn; for a user's, `tokens` counts what the template adds."""
        drawn = round(tokens * self.random.uniform(1 - spread, 1 + spread))
        own = drawn - (self.template_tokens if role == "user" else 1)
        return [{"role": role, "content": self.text(own)}]


def make_rows(stage: str, count: int, lengths: Lengths, writer: Writer) -> list[dict[str, Any]]:
    """Return rows for sft, dpo, kto or rlvr, in columns that both posttrain and TRL read.

    Half of KTO's thumbs are up. RLVR's answer is what the reward compares a completion with.
    """
    return [_row(stage, index, lengths, writer) for index in range(count)]


def _row(stage: str, index: int, lengths: Lengths, writer: Writer) -> dict[str, Any]:
    prompt = writer.turns("user", lengths.prompt, lengths.spread)

    def reply() -> list[dict[str, str]]:
        return writer.turns("assistant", lengths.reply, lengths.spread)

    if stage == "sft":
        return {"prompt": prompt, "completion": reply()}
    if stage == "dpo":
        return {"prompt": prompt, "chosen": reply(), "rejected": reply()}
    if stage == "kto":
        return {"prompt": prompt, "completion": reply(), "label": index % 2 == 0}
    return {"prompt": prompt, "answer": reply()[0]["content"]}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
