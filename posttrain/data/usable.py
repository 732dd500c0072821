"""Records that were understood but teach nothing, or the wrong thing: why they are left out, and counted."""

from __future__ import annotations

from posttrain.data.records import Chat, Feedback, Message, Preference, Record


def why_unusable(record: Record) -> str | None:
    """The reason to leave the record out, in words that can be counted; None if it can be used."""
    if isinstance(record, Chat):
        trained = [turn for turn in record.messages if turn["role"] == "assistant" and turn.get("weight", 1)]
        if not trained:
            return "every answer has weight 0"
        return "an empty answer" if any(_is_empty(turn) for turn in trained) else None
    if isinstance(record, Preference):
        return _why_unusable_pair(record)
    if isinstance(record, Feedback):
        return "a thumb up for an empty answer" if record.label and _is_empty(record.completion[-1]) else None
    return None


def _why_unusable_pair(pair: Preference) -> str | None:
    if pair.chosen == pair.rejected:
        return "chosen and rejected are the same"
    if any(turn["role"] == "user" for turn in pair.chosen + pair.rejected):
        return "chosen and rejected answer different prompts"
    return "an empty chosen answer" if _is_empty(pair.chosen[-1]) else None


def _is_empty(turn: Message) -> bool:
    return not turn["content"].strip() and not turn.get("tool_calls")
