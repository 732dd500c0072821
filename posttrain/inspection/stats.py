"""`data stats`: one pass over the rows of a part, to figures that say what is in it."""

from __future__ import annotations

import json
import random
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from posttrain.data.identity import content_key
from posttrain.data.messages import REASONING
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem, Record
from posttrain.inspection.answers import gold, kind_of, stands_in
from posttrain.inspection.figures import Places, distinct, key_of, most_common, repeated, several
from posttrain.inspection.languages import SAMPLE, count_languages, text_to_guess
from posttrain.inspection.opened import Opened
from posttrain.inspection.suspicious import suspicions
from posttrain.inspection.tokens_a_row import Lengths, figures_of
from posttrain.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 256  # rows tokenized at a time
SEED = 0  # of the samples: the same rows give the same figures
_WORD = re.compile(r"\w+")
_SHORT_LEAK = 20  # characters of an imitated answer, below which a prompt says it by chance


def _keys() -> array[int]:
    return array("Q")


@dataclass
class Counts:
    """What one pass keeps: numbers and 64-bit keys a row, never its text."""

    contents: array[int] = field(default_factory=_keys)
    normalised: array[int] = field(default_factory=_keys)
    prompts: array[int] = field(default_factory=_keys)
    answers: array[int] = field(default_factory=_keys)
    verdicts: array[int] = field(default_factory=_keys)
    thumbs: array[int] = field(default_factory=_keys)
    golds: array[int] = field(default_factory=_keys)
    gold_rows: array[int] = field(default_factory=_keys)
    systems: array[int] = field(default_factory=_keys)
    turns: Counter[int] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    labels: Counter[bool] = field(default_factory=Counter)
    with_tools: int = 0
    with_calls: int = 0
    with_thinking: int = 0
    suspicious: dict[str, Places] = field(default_factory=dict)
    sampled: list[str] = field(default_factory=list)


def statistics(opened: Opened, tokenizer: PreTrainedTokenizerBase, *, rows: int | None = None) -> dict[str, Any]:
    """The figures of the records, or of `rows` of them drawn at random, as plain JSON values by stable names."""
    chosen = _chosen(len(opened.records), rows)
    for_language = set(random.Random(SEED).sample(range(len(chosen)), min(SAMPLE, len(chosen))))
    counts, lengths = Counts(), Lengths()
    with progress("stats", len(chosen)) as advance:
        numbers = iter(enumerate(chosen))
        while batch := list(islice(numbers, BATCH)):
            records = [opened.records[index] for _, index in batch]
            for (number, index), record in zip(batch, records, strict=True):
                _count(counts, record, index, number in for_language)
            lengths.add(records, tokenizer, opened.stage, opened.settings)
            advance(len(batch))
    return {
        "part": opened.part,
        "stage": opened.stage,
        "rows": len(opened.records),
        "counted": len(chosen),
        **figures_of(lengths, opened.stage, opened.settings),
        **_figures(counts, opened.records, opened.stage),
    }


def _chosen(total: int, rows: int | None) -> Sequence[int]:
    if rows is None or rows >= total:
        return range(total)
    return sorted(random.Random(SEED).sample(range(total), rows))


def _count(counts: Counts, record: Record, index: int, for_language: bool) -> None:
    prompt, answers = _sides(record)
    asked, said = _text(prompt), [_text(turns) for turns in answers]
    counts.contents.append(int.from_bytes(content_key(record)[:8], "little"))
    counts.normalised.append(key_of(" ".join(_WORD.findall("\n".join([asked, *said]).lower()))))
    counts.prompts.append(key_of(asked))
    messages = [*prompt, *answers[0]] if answers else prompt
    counts.turns[sum(message["role"] == "user" for message in messages)] += 1
    counts.roles.update(message["role"] for message in messages)
    system = [message["content"] for message in messages if message["role"] == "system"]
    if system:
        counts.systems.append(key_of(system[0]))
    counts.with_tools += bool(record.tools)
    counts.with_calls += any(message.get("tool_calls") for message in messages)
    thinking = (any(message.get(name) for name in REASONING) or "<think>" in message["content"] for message in messages)
    counts.with_thinking += any(thinking)
    _count_answers(counts, record, index, asked, said)
    if for_language:
        users = [message["content"] for message in prompt if message["role"] == "user"]
        counts.sampled.append(text_to_guess("\n".join(users), _plain(answers[0]) if answers else ""))


def _count_answers(counts: Counts, record: Record, index: int, asked: str, said: list[str]) -> None:
    if not any(message["content"].strip() for message in _sides(record)[0] if message["role"] != "system"):
        _suspect(counts, "blank_prompt", record)
    if isinstance(record, Problem):
        answer = gold(record.fields)
        counts.answers.append(key_of(answer or ""))
        counts.kinds[kind_of(answer) if answer is not None else "none"] += 1
        if answer is not None:
            counts.golds.append(key_of(answer))
            counts.gold_rows.append(index)
            if stands_in(answer, asked):
                _suspect(counts, "answer_in_prompt", record)
        return
    counts.answers.append(key_of(said[0]))
    if isinstance(record, Feedback):
        counts.labels[record.label] += 1
        counts.verdicts.append(key_of(f"{asked}\0{said[0]}"))
        counts.thumbs.append(record.label)
    if isinstance(record, Preference):
        counts.verdicts.append(key_of("\0".join([asked, *sorted(said)])))
    # What is imitated: a rejected answer, or one with a thumb down, may be as odd as it likes.
    if isinstance(record, Feedback) and not record.label:
        return
    imitated = _plain(_sides(record)[1][0])
    for name in suspicions(imitated):
        _suspect(counts, name, record)
    if isinstance(record, Chat) and len(imitated) >= _SHORT_LEAK and imitated in asked:
        _suspect(counts, "answer_in_prompt", record)


def _suspect(counts: Counts, name: str, record: Record) -> None:
    counts.suspicious.setdefault(name, Places()).add(record.place)


def _sides(record: Record) -> tuple[list[Message], list[list[Message]]]:
    """The prompt, and the answers to it: of a chat, all from its first assistant turn on."""
    if isinstance(record, Chat):
        first = next(at for at, turn in enumerate(record.messages) if turn["role"] == "assistant")
        return record.messages[:first], [record.messages[first:]]
    if isinstance(record, Preference):
        return record.prompt, [record.chosen, record.rejected]
    return record.prompt, [record.completion] if isinstance(record, Feedback) else []


def _text(messages: list[Message]) -> str:
    """The turns as one text that tells them apart."""
    calls = [json.dumps(turn["tool_calls"], sort_keys=True) if turn.get("tool_calls") else "" for turn in messages]
    return "\n".join(f"{turn['role']}: {turn['content']}{call}" for turn, call in zip(messages, calls, strict=True))


def _plain(messages: list[Message]) -> str:
    return "\n".join(turn["content"] for turn in messages if turn["role"] == "assistant")


def _figures(counts: Counts, records: Sequence[Record], stage: str) -> dict[str, Any]:
    total = len(counts.contents)
    found: dict[str, Any] = {
        "duplicates": {"exact": repeated(counts.contents), "normalised": repeated(counts.normalised)},
        "prompts": {
            "distinct": distinct(counts.prompts),
            "with_different_answers": several(counts.prompts, counts.answers),
        },
        "conversation": {
            "user_turns": {str(number): counts.turns[number] for number in sorted(counts.turns)},
            "roles": dict(counts.roles.most_common()),
            "with_tools": counts.with_tools,
            "with_tool_calls": counts.with_calls,
            "with_thinking": counts.with_thinking,
            "with_system": len(counts.systems),
            "distinct_systems": distinct(counts.systems),
        },
        "languages": {"sampled": len(counts.sampled), "rows": count_languages(counts.sampled)},
        "suspicious": {
            name: {"rows": places.count, "examples": places.examples}
            for name, places in sorted(counts.suspicious.items(), key=lambda item: (-item[1].count, item[0]))
        },
    }
    if stage == "kto":
        found["labels"] = _labels(counts)
        found["contradictions"] = several(counts.verdicts, counts.thumbs)
    if stage == "dpo":
        found["contradictions"] = several(counts.verdicts, counts.answers)
    if counts.kinds:
        found["answers"] = {"kinds": dict(counts.kinds.most_common())}
    if counts.golds:
        first, times = most_common(counts.golds)
        record = records[counts.gold_rows[first]]
        assert isinstance(record, Problem)
        found["answers"] |= {"most_common": gold(record.fields), "times": times, "share": times / total}
    return found


def _labels(counts: Counts) -> dict[str, Any]:
    from posttrain.data.balance import label_weights

    up, down = counts.labels[True], counts.labels[False]
    weights = label_weights(up, down) if up and down else None
    return {"up": up, "down": down, "weights": list(weights) if weights else None}
