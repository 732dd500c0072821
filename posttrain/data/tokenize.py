"""Records to the token rows that TRL's trainers take as they are, with what was cut and left out, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from posttrain.data.length import TooLong, cut, kept_part, trains
from posttrain.data.masks import IGNORED, Span, labels_of, trained_spans
from posttrain.data.pieces import Pieces, labels_by_bytes, pieces_of
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
from posttrain.data.word_ids import words_of
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]

_TOGETHER = 256  # texts: what the tokenizer says of so many stays in the processor's cache

NO_TRAINED_TOKEN = "had no trained token"
TOO_LONG = "longer than max_length"
LONG_PROMPT = "had a prompt that fills max_length"
SAME_TEXT = "had two answers that the template writes the same"
SAME_ONCE_CUT = "differed only after max_length"
SAME_ENDS = "differed only before the last max_length tokens"


@dataclass(frozen=True)
class Tokenized:
    """Token rows of `total` records, each with the `index` of its record.

    Beside them: how many records were left out (by reason), cut, and given another end of the prompt.

    `pieces` are the rows that the `split` records became; any other record that was kept is one row.
    """

    rows: list[dict[str, Any]]
    total: int
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    reshaped: int = 0
    split: int = 0
    pieces: int = 0

    @property
    def kept(self) -> int:
        return self.total - self.dropped.total()

    @property
    def summary(self) -> str:
        """What was kept and why not the rest: ``kept 812 of 1,000: 143 truncated, 188 had no trained token``."""
        said = [f"{self.truncated:,} truncated"] if self.truncated else []
        said += [f"{self.split:,} split into {self.pieces:,}"] if self.split else []
        said += [f"{count:,} {why}" for why, count in self.dropped.items()]
        if self.reshaped:
            said.append(f"{self.reshaped:,} with a prompt that the template ends otherwise before an answer")
        return f"kept {self.kept:,} of {self.total:,}" + (": " + ", ".join(said) if said else "")

    def with_counts_of(self, other: Tokenized) -> Tokenized:
        """These rows with the counts of both."""
        counted = ("total", "dropped", "truncated", "reshaped", "split", "pieces")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in counted})


def refuse_nothing_kept(done: Tokenized) -> None:
    """Raise UserError, with the reasons, when there were records and none of them is left to train on."""
    if done.total and not done.kept:
        raise UserError(f"no row is left to train on: {done.summary}", fix="Raise the length limit.")


def tokenize_chats(
    records: Sequence[Chat],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    too_long: TooLong = "keep_start",
    trained_turns: TrainedTurns = "all",
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``input_ids`` and ``labels``, of equal length; labels are -100 outside the trained tokens.

    What becomes of a row longer than `max_length` says `too_long`; a row is left out where no trained token remains.
    With `thinking` keep, a conversation with thoughts before its last turn is split into a row for each trained turn.
    Raises UserError for a row whose trained part cannot be found.
    """
    turns = probe_turns(tokenizer, thinking)
    chats = [
        (index, chat) for index, record in enumerate(records) for chat in _as_trained(record, trained_turns, thinking)
    ]
    rendered = [trained_spans(tokenizer, chat, turns) for _, chat in chats]
    tokens = _tokens_and_labels(tokenizer, [text for text, _ in rendered], [spans for _, spans in rendered])
    rows, dropped, truncated, split, pieces = [], Counter[str](), 0, 0, 0
    for index, group in groupby(zip(chats, tokens, strict=True), key=lambda pair: pair[0][0]):
        found: list[dict[str, Any]] = []
        long = left_out = False
        for _, (ids, labels) in group:
            too_many = max_length is not None and len(ids) > max_length
            long |= too_many
            if too_many and too_long == "drop":
                left_out = True
                continue
            parts = cut(ids, labels, max_length, too_long)
            found += [{"index": index, "input_ids": part, "labels": own} for part, own in parts if trains(own)]
        if not found:
            dropped[TOO_LONG if left_out else NO_TRAINED_TOKEN] += 1
        elif len(found) > 1:
            split += 1
            pieces += len(found)
        else:
            truncated += long
        rows += found
    return Tokenized(rows, len(chats), dropped, truncated=truncated, split=split, pieces=pieces)


def _as_trained(record: Chat, trained_turns: TrainedTurns, thinking: Thinking) -> list[Chat]:
    """The conversations to train of one record: mostly itself."""
    chat = last_turn_only(record) if trained_turns == "last" else record
    return list(one_row_a_thought([chat])) if thinking == "keep" else [chat]


def tokenize_preferences(
    records: Sequence[Preference],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    too_long: TooLong = "keep_start",
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``, whole: TRL's collator cuts each answer with its
    prompt to `max_length`, as its ``truncation_mode`` says.

    Left out are rows that would teach nothing then: the prompt alone fills `max_length`, or nothing that differs
    is left of the two answers. With `too_long` drop, those with an answer that ends after `max_length` too.
    """
    turns = probe_turns(tokenizer, thinking)
    texts: list[str] = []
    for record in records:
        texts.append(_prompt_text(tokenizer, record.prompt, record.tools, turns, record.place))
        for answer in (record.chosen, record.rejected):
            texts.append(_answered_text(tokenizer, record.prompt, answer, record.tools, turns, record.place))
    ids = iter(_ids(tokenizer, texts))
    part = kept_part(max_length, too_long)
    rows, dropped, truncated, reshaped = [], Counter[str](), 0, 0
    for index, (prompt, chosen, rejected) in enumerate(zip(ids, ids, ids, strict=True)):
        shared = min(_common(prompt, chosen), _common(prompt, rejected))
        long = max_length is not None and max(len(chosen), len(rejected)) > max_length
        if chosen == rejected:
            dropped[SAME_TEXT] += 1
        elif long and too_long == "drop":
            dropped[TOO_LONG] += 1
        elif _fills(shared, max_length, too_long):
            dropped[LONG_PROMPT] += 1
        elif chosen[part] == rejected[part]:
            dropped[SAME_ENDS if too_long == "keep_end" else SAME_ONCE_CUT] += 1
        else:
            truncated += long
            reshaped += shared < len(prompt)
            answers = {"chosen_ids": chosen[shared:], "rejected_ids": rejected[shared:]}
            rows.append({"index": index, "prompt_ids": prompt[:shared], **answers})
    return Tokenized(rows, len(records), dropped, truncated=truncated, reshaped=reshaped)


def tokenize_feedback(
    records: Sequence[Feedback],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    too_long: TooLong = "keep_start",
    thinking: Thinking = DEFAULT,
) -> Tokenized:
    """Rows of ``prompt_ids``, ``completion_ids`` and ``label``; TRL's collator cuts their ends to `max_length`.

    Left out are rows whose prompt alone fills `max_length`; with `too_long` drop, all longer ones. With keep_end,
    which TRL has not got for KTO, the rows have lost their beginnings here.
    """
    turns = probe_turns(tokenizer, thinking)
    texts: list[str] = []
    for record in records:
        texts.append(_prompt_text(tokenizer, record.prompt, record.tools, turns, record.place))
        texts.append(_answered_text(tokenizer, record.prompt, record.completion, record.tools, turns, record.place))
    ids = iter(_ids(tokenizer, texts))
    rows, dropped, truncated, reshaped = [], Counter[str](), 0, 0
    for index, (record, prompt, answered) in enumerate(zip(records, ids, ids, strict=True)):
        shared = _common(prompt, answered)
        long = max_length is not None and len(answered) > max_length
        if long and too_long == "drop":
            dropped[TOO_LONG] += 1
            continue
        if _fills(shared, max_length, too_long):
            dropped[LONG_PROMPT] += 1
            continue
        truncated += long
        reshaped += shared < len(prompt)
        start = kept_part(max_length, too_long).indices(len(answered))[0]
        kept = {"prompt_ids": answered[start:shared], "completion_ids": answered[max(start, shared) :]}
        rows.append({"index": index, **kept, "label": record.label})
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


def _fills(prompt_length: int, max_length: int | None, too_long: TooLong) -> bool:
    """Whether nothing of an answer is left after a prompt of so many tokens."""
    return max_length is not None and too_long != "keep_end" and prompt_length >= max_length


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
    if not tokenizer.is_fast:
        return [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    words = words_of(tokenizer)
    found = [words.ids_of(text) if words else None for text in texts]
    others = [text for text, ids in zip(texts, found, strict=True) if ids is None]
    encoded = iter(_backend(tokenizer).encode_batch_fast(others, add_special_tokens=False))
    return [next(encoded).ids if ids is None else ids for ids in found]


def _tokens_and_labels(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[list[Span]]
) -> list[tuple[Ids, Ids]]:
    if not tokenizer.is_fast:
        return [_by_prefix(tokenizer, text, each) for text, each in zip(texts, spans, strict=True)]
    found: list[tuple[Ids, Ids]] = []
    pieces = pieces_of(tokenizer)
    for first in range(0, len(texts), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        if pieces is None:
            found += _by_offsets(tokenizer, texts[some], spans[some])
            continue
        told = list(_by_bytes(tokenizer, texts[some], spans[some], pieces))
        untold = [at for at, pair in enumerate(told) if pair is None]
        again = _by_offsets(tokenizer, [texts[first + at] for at in untold], [spans[first + at] for at in untold])
        for at, pair in zip(untold, again, strict=True):
            told[at] = pair
        found += (pair for pair in told if pair is not None)
        if 2 * len(untold) > len(told):  # nor will the next ones be told
            pieces = None
    return found


def _by_bytes(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[list[Span]], pieces: Pieces
) -> Iterator[tuple[Ids, Ids] | None]:
    for text, ids, each in zip(texts, _ids(tokenizer, texts), spans, strict=True):
        labels = labels_by_bytes(ids, pieces, text, each)
        yield None if labels is None else (ids, labels)


def _by_offsets(tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[list[Span]]) -> list[tuple[Ids, Ids]]:
    encodings = _backend(tokenizer).encode_batch(texts, add_special_tokens=False)
    return [
        (encoding.ids, labels_of(encoding.ids, encoding.offsets, each))
        for encoding, each in zip(encodings, spans, strict=True)
    ]


def _backend(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The library below a fast tokenizer, set as its own call would set it: asked for ids, that call takes a quarter
    more time, for the columns that nobody reads."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    return backend


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
