"""What there is to say about collected feedback. It names no user."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from posttrain.curation.feedback.collect import Collected
from posttrain.curation.feedback.verdict import NEITHER
from posttrain.data.balance import label_weights

_LARGE_SHARE = 0.2
_FEW = 100


def document(done: Collected) -> dict[str, Any]:
    """All of it as plain values, with KTO's weights and the warnings."""
    up, down = label_weights(done.up, done.down)
    return {**asdict(done), "weights": {"up": up, "down": down}, "warnings": warnings(done)}


def report(done: Collected) -> list[str]:
    """The same, line by line."""
    read = f"read {_count(done.rows, 'log row')}" + (f" and {_count(done.ratings, 'rating')}" if done.ratings else "")
    said = [f"{read}: used {done.used:,} of {_count(done.verdicts, 'verdict')}"]
    for why, count in done.left_out.items():
        words = f" (such as: {', '.join(done.words)})" if why == NEITHER and done.words else ""
        said.append(f"left out {count:,}: {why}{words}")
    up, down = label_weights(done.up, done.down)
    said.append(f"labels: {done.up:,} up (KTO's weight {up:.3g}), {done.down:,} down (weight {down:.3g})")
    if done.users is not None and done.top_share is not None:
        said.append(f"{_count(done.users, 'user')}; the busiest gave {done.top_share:.0%} of the verdicts")
    if done.dev_path is not None:
        said.append(f"held out {done.held_out:,} of {done.used:,}")
    if done.scores_not_used:
        names = ", ".join(f"{name} ({count:,})" for name, count in done.scores_not_used.items())
        said.append(f"scores that are no users' thumbs: {names}; --score NAME takes one")
    return said + [f"warning: {warning}" for warning in warnings(done)]


def warnings(done: Collected) -> list[str]:
    """What may make the training worse than it looks."""
    found = []
    if not done.up or not done.down:
        side = "up" if done.up else "down"
        found.append(f"every verdict is {side}: KTO learns from the contrast of up and down")
    elif max(done.up, done.down) > 10 * min(done.up, done.down):
        found.append("one label is ten times rarer than the other: each of its rows weighs much, look at them")
    if done.used < _FEW:
        found.append(f"{_count(done.used, 'verdict')} will hardly change a model")
    if done.dev_share and done.held_out < 0.5 * done.dev_share * done.used:
        found.append(
            "few could be held out: most are linked by the prompts that they share; --by prompt holds out more"
        )
    if done.users is None:
        found.append("no row names its user: equal answers count once, whoever judged them")
    elif done.top_share is not None and done.top_share > _LARGE_SHARE and done.users > 1:
        found.append(f"one user gave {done.top_share:.0%} of the verdicts: the model will learn that user's taste")
    return found


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
