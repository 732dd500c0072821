"""What the columns of a row are for, where no format knows their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posttrain.data.formats.format import has
from posttrain.data.formats.problem import ANSWERS, PROMPTS

# Most telling first. Only names that say what they are: a wrong guess would be worse than none.
_ASKED = [*PROMPTS, "text", "sentence", "utterance", "message", "user", "ticket", "subject"]
_IMITATED = ["completion", "response", "output", "solution", "code", *ANSWERS, "category", "intent", "label", "class"]
_CHECKED = [*ANSWERS, "category", "intent", "label", "class"]
_KNOWN = ("messages", "conversations", "chosen", "preferred_output", "item")  # shapes that say more than a name


def guess_columns(row: Mapping[str, Any], stage: str) -> dict[str, str]:
    """Columns by which a row that fits no format of `stage` (sft or rlvr) would: ours to theirs; {} where none are.

    Of rlvr the prompt, and the answer where its name says so; of sft both.
    """
    if has(row, "prompt", "completion") or any(has(row, name) for name in _KNOWN):
        return {}
    asked = next((name for name in _ASKED if isinstance(row.get(name), str)), None)
    others = [name for name in (_IMITATED if stage == "sft" else _CHECKED) if name != asked and _is_plain(row, name)]
    if asked is None or (stage == "sft" and not others):
        return {}
    if stage == "sft":
        return {ours: theirs for ours, theirs in (("prompt", asked), ("completion", others[0])) if ours != theirs}
    columns = {} if asked == "prompt" else {"prompt": asked}
    answered = any(has(row, name) for name in ANSWERS)
    return columns | ({"answer": others[0]} if others and not answered else {})


def _is_plain(row: Mapping[str, Any], name: str) -> bool:
    return isinstance(row.get(name), str | int | float) and not isinstance(row.get(name), bool)
