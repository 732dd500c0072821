"""Verdicts of the same answer: one a user, the latest; and what becomes of those on which users differ."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter

REPEATED = "the same verdict of the same user again"
CHANGED = "a verdict that the user changed later"
OUTVOTED = "outvoted by other users"
TIED = "as many users for as against"
DISPUTED = "users differ"

_NOBODY = -1


class Verdicts:
    """Verdicts as columns of numbers. Equal prompts, answers, users and conversations have one number each."""

    def __init__(self) -> None:
        self.labels, self.seconds, self.offsets = array("b"), array("d"), array("q")
        self.prompts, self.answers, self.raters = array("q"), array("q"), array("q")
        self.users, self.conversations = array("q"), array("q")
        self._prompts: dict[bytes, int] = {}
        self._answers: dict[bytes, int] = {}
        self._names: dict[str, int] = {}
        self._prompt_keys: list[bytes] = []
        self._spelled: list[str] = []

    def __len__(self) -> int:
        return len(self.labels)

    def add(
        self,
        label: bool,
        *,
        prompt: bytes,
        answer: str,
        rater: str | None,
        user: str | None,
        conversation: str | None,
        seconds: float,
        offset: int,
    ) -> None:
        """Add a verdict: its prompt's key, what tells the answer apart, who gave it, where its texts are."""
        digest = hashlib.sha256(answer.encode("utf-8", "surrogatepass")).digest()[:16]
        number = self._prompts.setdefault(prompt, len(self._prompts))
        if number == len(self._prompt_keys):
            self._prompt_keys.append(prompt)
        self.prompts.append(number)
        self.answers.append(self._answers.setdefault(digest, len(self._answers)))
        self.raters.append(self._number(rater))
        self.users.append(self._number(user))
        self.conversations.append(self._number(conversation))
        self.labels.append(label)
        self.seconds.append(seconds)
        self.offsets.append(offset)

    def prompt(self, index: int) -> bytes:
        """The key of the verdict's prompt."""
        return self._prompt_keys[self.prompts[index]]

    def name(self, number: int, salt: bytes | None) -> str | None:
        """The name behind a number; with `salt`, 16 hexadecimal digits of its salted SHA-256 instead."""
        if number == _NOBODY:
            return None
        name = self._spelled[number]
        return name if salt is None else hashlib.sha256(salt + name.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _number(self, name: str | None) -> int:
        if name is None:
            return _NOBODY
        number = self._names.setdefault(name, len(self._names))
        if number == len(self._spelled):
            self._spelled.append(name)
        return number


def settle(verdicts: Verdicts, conflicts: str) -> tuple[array[int], Counter[str]]:
    """``(kept, left out by reason)``: the numbers of the verdicts that count, in order.

    Of one user's verdicts of one answer the latest counts: by time, and without times the last that was read.
    Where users differ, ``majority`` keeps the side that more of them took and neither in a tie, ``drop`` neither,
    ``keep`` all. Verdicts without a user are those of one user.
    """
    latest: dict[tuple[int, int], int] = {}
    for index, who in enumerate(zip(verdicts.answers, verdicts.raters, strict=True)):
        before = latest.get(who)
        if before is None or _time(verdicts, index) >= _time(verdicts, before):
            latest[who] = index
    reasons: Counter[str] = Counter()
    up, down = Counter[int](), Counter[int]()
    for (answer, _), index in latest.items():
        (up if verdicts.labels[index] else down)[answer] += 1
    kept = array("q")
    for index, who in enumerate(zip(verdicts.answers, verdicts.raters, strict=True)):
        answer, winner = who[0], latest[who]
        label = bool(verdicts.labels[index])
        if winner != index:
            reasons[REPEATED if verdicts.labels[winner] == verdicts.labels[index] else CHANGED] += 1
            continue
        mine, others = (up, down) if label else (down, up)
        if conflicts == "keep" or not others[answer]:
            kept.append(index)
        elif conflicts == "drop":
            reasons[DISPUTED] += 1
        elif mine[answer] > others[answer]:
            kept.append(index)
        else:
            reasons[TIED if mine[answer] == others[answer] else OUTVOTED] += 1
    return kept, reasons


def _time(verdicts: Verdicts, index: int) -> float:
    seconds = verdicts.seconds[index]
    return -math.inf if math.isnan(seconds) else seconds
