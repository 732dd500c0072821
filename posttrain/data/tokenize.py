"""Records to the token rows that TRL's trainers take as they are, with what was cut and left out, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from posttrain.data.masks import IGNORED, Span, labels_of, trained_spans
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem
from posttrain.data.template import (
    Tools,
    Turns,
    check_answer,
    check_context,
    check_thought,
    check_tools,
    probe_turns,
    render,
    with_thoughts,
)
from posttrain.data.thinking import DEFAULT, Thinking, TrainedTurns, last_turn_only, one_row_a_thought
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]

NO_TRAINED_TOKEN = "had no trained token"
LONG_PROMPT = "had a prompt that fills max_length"
SAME_ONCE_CUT = "differed only after max_length"


@dataclass(frozen=True)
class Tokenized:
    """Token rows of `total` records: how many were left out (by reason), cut, and given another prompt's end."""

    rows: list[dict[str, Any]]
    total: int
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    reshaped: int = 0

    @property
    def kept(self) -> int:
        return len(self.rows)

    @property
    def summary(self) -> str:
        """What was kept and why not the rest: ``kept 812 of 1,000: 143 truncated, 45 had no trained token``."""
        return summary_of(self.kept, self.total, self.dropped, self.truncated, self.reshaped)


def summary_of(kept: int, total: int, dropped: Mapping[str, int], truncated: int, reshaped: int) -> str:
    """One line: how many of how many rows were kept, how many were cut, and why the others were left out."""
    said = [f"{truncated:,} truncated"] if truncated else []
    said += [f"{count:,} {why}" for why, count in dropped.items()]
    said += [f"{reshaped:,} with a prompt that the template ends otherwise before an answer"] if reshaped else []
    return f"kept {kept:,} of {total:,}" + (": " + ", ".join(said) if said else "")


def refuse_nothing_kept(done: Tokenized) -> None:
    """Raise UserError, with the reasons, when there were records and none of them is left to train on."""
    if done.total and not done.kept:
        raise UserError(f"no row is left to train on: {done.summary}", fix="Raise the length limit.")


def tokenize_chats(
    records: Sequence[Chat],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    trained_turns: TrainedTurns = "all",
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``input_ids`` and ``labels``, of equal length; labels are -100 outside the trained tokens.

    Rows are cut to their first `max_length` tokens, and left out where no trained token remains. With `thinking`
    keep, a conversation with thoughts before its last turn is as many rows as it has trained turns.
    Raises UserError for a row whose trained part cannot be found.
    """
    turns = probe_turns(tokenizer, thinking)
    records = [last_turn_only(record) for record in records] if trained_turns == "last" else records
    records = list(one_row_a_thought(records)) if thinking == "keep" else records
    rendered = [trained_spans(tokenizer, record, turns) for record in records]
    tokens = _tokens_and_labels(tokenizer, [text for text, _ in rendered], [spans for _, spans in rendered])
    rows, dropped, truncated = [], Counter[str](), 0
    for ids, labels in tokens:
        if all(label == IGNORED for label in labels[:max_length]):
            dropped[NO_TRAINED_TOKEN] += 1
            continue
        truncated += max_length is not None and len(ids) > max_length
        rows.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
    return Tokenized(rows, len(records), dropped, truncated=truncated)


def tokenize_preferences(
    records: Sequence[Preference],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``; TRL's collator cuts them to `max_length`.

    Left out are rows whose prompt alone fills `max_length`, or whose two answers are the same up to there.
    """
    turns = probe_turns(tokenizer, thinking)
    texts: list[str] = []
    for record in records:
        texts.append(_prompt_text(tokenizer, record.prompt, record.tools, turns, record.place))
        for answer in (record.chosen, record.rejected):
            texts.append(_answered_text(tokenizer, record.prompt, answer, record.tools, turns, record.place))
    ids = iter(_ids(tokenizer, texts))
    rows, dropped, truncated, reshaped = [], Counter[str](), 0, 0
    for prompt, chosen, rejected in zip(ids, ids, ids, strict=True):
        shared = min(_common(prompt, chosen), _common(prompt, rejected))
        row = {
            "prompt_ids": prompt[:shared],
            "chosen_ids": chosen[shared:],
            "rejected_ids": rejected[shared:],
        }
        if max_length is not None and shared >= max_length:
            dropped[LONG_PROMPT] += 1
        elif max_length is not None and chosen[:max_length] == rejected[:max_length]:
            dropped[SAME_ONCE_CUT] += 1
        else:
            truncated += max_length is not None and max(len(chosen), len(rejected)) > max_length
            reshaped += shared < len(prompt)
            rows.append(row)
    return Tokenized(rows, len(records), dropped, truncated=truncated, reshaped=reshaped)


def tokenize_feedback(
    records: Sequence[Feedback],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``prompt_ids``, ``completion_ids`` and ``label``; TRL's collator cuts them to `max_length`.

    Left out are rows whose prompt alone fills `max_length`.
    """
    turns = probe_turns(tokenizer, thinking)
    texts: list[str] = []
    for record in records:
        texts.append(_prompt_text(tokenizer, record.prompt, record.tools, turns, record.place))
        texts.append(_answered_text(tokenizer, record.prompt, record.completion, record.tools, turns, record.place))
    ids = iter(_ids(tokenizer, texts))
    rows, dropped, truncated, reshaped = [], Counter[str](), 0, 0
    for record, prompt, answered in zip(records, ids, ids, strict=True):
        shared = _common(prompt, answered)
        if max_length is not None and shared >= max_length:
            dropped[LONG_PROMPT] += 1
            continue
        truncated += max_length is not None and len(answered) > max_length
        reshaped += shared < len(prompt)
        rows.append({"prompt_ids": prompt[:shared], "completion_ids": answered[shared:], "label": record.label})
    return Tokenized(rows, len(records), dropped, truncated=truncated, reshaped=reshaped)


def tokenize_problems(
    records: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int | None,
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``prompt_ids``, which end with the generation prompt, and ``index`` into `records`.

    Left out are rows whose prompt is longer than `max_prompt_tokens`.
    """
    turns = probe_turns(tokenizer, thinking)
    texts = [_prompt_text(tokenizer, record.prompt, record.tools, turns, record.place) for record in records]
    rows, dropped = [], Counter[str]()
    for index, ids in enumerate(_ids(tokenizer, texts)):
        if max_prompt_tokens is not None and len(ids) > max_prompt_tokens:
            dropped[f"had a prompt above {max_prompt_tokens:,} tokens"] += 1
        else:
            rows.append({"prompt_ids": ids, "index": index})
    return Tokenized(rows, len(records), dropped)


def _prompt_text(
    tokenizer: PreTrainedTokenizerBase, prompt: list[Message], tools: Tools, turns: Turns, place: str
) -> str:
    messages = with_thoughts(prompt, turns)
    text = render(tokenizer, messages, tools, add_generation_prompt=True, thinking=turns.thinking, place=place)
    check_tools(text, tools, turns, place)
    check_context(text, messages, place)
    return text


def _answered_text(
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[Message],
    answer: list[Message],
    tools: Tools,
    turns: Turns,
    place: str,
) -> str:
    messages = with_thoughts(prompt + answer, turns)
    text = render(tokenizer, messages, tools, thinking=turns.thinking, place=place)
    check_context(text, messages, place)  # some templates write the system turn in a prompt alone
    check_answer(text, messages[-1], turns, place)
    check_thought(text, messages[-1], place)
    return text


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[Ids]:
    """Token ids of rendered texts. The template wrote all special tokens: none is added, so no second BOS."""
    return [ids for tokens in _encoded(tokenizer, texts) for ids in tokens["input_ids"]]


def _tokens_and_labels(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[list[Span]]
) -> list[tuple[Ids, Ids]]:
    if not tokenizer.is_fast:
        return [_by_prefix(tokenizer, text, each) for text, each in zip(texts, spans, strict=True)]
    pairs = (
        pair
        for tokens in _encoded(tokenizer, texts, return_offsets_mapping=True)
        for pair in zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    )
    return [(ids, labels_of(ids, offsets, each)) for (ids, offsets), each in zip(pairs, spans, strict=True)]


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str], **asked: bool) -> Iterator[Mapping[str, Any]]:
    """The tokenizer's output for a thousand texts at a time: many for its threads, few for the memory."""
    for start in range(0, len(texts), 1000):
        chunk = texts[start : start + 1000]
        yield tokenizer(chunk, add_special_tokens=False, return_attention_mask=False, verbose=False, **asked)


def _by_prefix(tokenizer: PreTrainedTokenizerBase, text: str, spans: list[Span]) -> tuple[Ids, Ids]:
    """Ids and labels from a tokenizer without offsets: a span's tokens are those after its prefix's."""
    ids, *prefixes = _ids(tokenizer, [text, *(text[:at] for span in spans for at in span)])
    bounds = [_common(prefix, ids) for prefix in prefixes]
    labels = [IGNORED] * len(ids)
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        labels[start:end] = ids[start:end]
    return ids, labels


def _common(left: Ids, right: Ids) -> int:
    """The number of tokens that both begin with."""
    if right[: len(left)] == left:
        return len(left)
    return next((at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), len(right))


# What makes a stage's token rows; rlvr's and eval's are the prompts.
OF_STAGE: dict[str, Callable[..., Tokenized]] = {
    "sft": tokenize_chats,
    "dpo": tokenize_preferences,
    "kto": tokenize_feedback,
    "rlvr": tokenize_problems,
    "eval": tokenize_problems,
}
