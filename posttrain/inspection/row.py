"""One record as training sees it: its tokens turn by turn, which are trained, and which are cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from posttrain.data.length import kept_part
from posttrain.data.masks import IGNORED
from posttrain.data.records import Chat, Feedback, Message, Preference, Problem, Record
from posttrain.data.template import probe_turns, render
from posttrain.data.tokenize import OF_STAGE
from posttrain.errors import UserError
from posttrain.inspection.tokens import Token, read_tokens
from posttrain.inspection.turns import answer_start, turn_starts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE = "template"
_LIMITS = ("max_length", "max_prompt_tokens")


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of one turn that are alike: trained or not, cut or not.

    `turn` counts the record's messages from 0; -1 is what the template writes before them. `part` counts the rows
    that a long record is split into.
    """

    turn: int
    role: str
    trained: bool
    cut: bool
    part: int
    tokens: list[Token]

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True)
class Shown:
    """A record as training sees it.

    `texts` are its pieces by name: ``conversation`` (sft; ``conversation 1`` … where training writes it in several
    ways), or ``prompt`` and then ``chosen`` and ``rejected`` (dpo), ``completion`` (kto), nothing (rlvr, eval). Tokens
    are counted in what is kept, a shared prompt once. `rows` is how many rows training makes of it, and `why` says why
    there is none. `error` says why it cannot be rendered; there are no texts then. `fields` is what a grader reads
    beside the prompt, `label` a thumb.
    """

    number: int
    place: str
    texts: dict[str, list[Piece]] = field(default_factory=dict)
    rows: int = 0
    why: str | None = None
    error: str | None = None
    label: bool | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(len(piece.tokens) for piece in self._pieces() if not piece.cut)

    @property
    def trained(self) -> int:
        return sum(len(piece.tokens) for piece in self._pieces() if piece.trained)

    @property
    def cut(self) -> int:
        return sum(len(piece.tokens) for piece in self._pieces() if piece.cut)

    def _pieces(self) -> Iterator[Piece]:
        return (piece for pieces in self.texts.values() for piece in pieces)


def look_at(
    record: Record, number: int, stage: str, tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]
) -> Shown:
    """`record`, the `number`-th, as ``tokenize.OF_STAGE[stage]`` with `settings` makes it for training.

    A record that it refuses comes back with `error`. Of a preference pair that is cut from the left, a prompt's token
    is cut where neither answer keeps it.
    """
    said: dict[str, Any] = {}
    if isinstance(record, Feedback):
        said["label"] = record.label
    if isinstance(record, Problem):
        said["fields"] = {name: value for name, value in record.fields.items() if name != "prompt"}
    try:
        done = OF_STAGE[stage]([record], tokenizer, **settings)
        unlimited = {key: None if key in _LIMITS else value for key, value in settings.items()}
        whole = OF_STAGE[stage]([record], tokenizer, **unlimited)
        texts = _texts(record, done.rows, whole.rows, tokenizer, settings)
    except UserError as error:
        return Shown(number, record.place, error=f"{error.message}\n{error.fix or ''}".strip(), **said)
    return Shown(number, record.place, texts, len(done.rows), next(iter(done.dropped), None), **said)


def _texts(
    record: Record,
    rows: list[dict[str, Any]],
    whole: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    settings: Mapping[str, Any],
) -> dict[str, list[Piece]]:
    """`rows` are what training makes of the record; `whole` is the one that it would make without a limit, if any."""
    if isinstance(record, Problem):
        ids = whole[0]["prompt_ids"]
        return {"prompt": _pieces(record.prompt, _seen(record, record.prompt, tokenizer, ids, [], [0] * len(ids)))}
    if isinstance(record, Chat):
        return _chat_texts(record, rows, whole, tokenizer, settings)
    found: dict[str, list[Piece]] = {}
    answers = _answers(record)
    prompt, said = _prompt_and_answers(record, answers, whole, tokenizer)
    asked: list[_Seen] = []
    for (name, answer), answer_ids in zip(answers.items(), said, strict=True):
        messages, ids = [*record.prompt, *answer], prompt + answer_ids
        trained = [bool(rows) and at >= len(prompt) for at in range(len(ids))]
        seen = _seen(record, messages, tokenizer, ids, trained, _kept(len(ids), settings))
        asked = [max(pair, key=lambda one: one.part) for pair in zip(seen, asked or seen, strict=False)][: len(prompt)]
        found["prompt"] = _pieces(messages, asked)
        found[name] = _pieces(messages, seen[len(prompt) :])
    return found


def _chat_texts(
    chat: Chat,
    rows: list[dict[str, Any]],
    whole: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    settings: Mapping[str, Any],
) -> dict[str, list[Piece]]:
    """The conversation; or several, each up to a turn that is trained in it, where they are written differently."""
    if not whole:
        ids = _encoded(tokenizer, chat.messages, chat)
        seen = _seen(chat, chat.messages, tokenizer, ids, [False] * len(ids), _kept(len(ids), settings))
        return {"conversation": _pieces(chat.messages, seen)}
    ends = [at + 1 for at, turn in enumerate(chat.messages) if turn["role"] == "assistant" and turn.get("weight", 1)]
    found: dict[str, list[Piece]] = {}
    placed = 0
    for number, each in enumerate(whole):
        messages = chat.messages[: ends[number]] if len(whole) == len(ends) > 1 else chat.messages
        parts, trained = _placed(rows[placed:], each, placed, from_end=settings.get("too_long") == "keep_end")
        placed = max(parts, default=-1) + 1 or placed
        if max(parts, default=-1) < 0:  # none of the rows is of this one
            parts = _kept(len(parts), settings)
        seen = _seen(chat, messages, tokenizer, each["input_ids"], trained, parts)
        found[f"conversation {number + 1}" if len(whole) > 1 else "conversation"] = _pieces(messages, seen)
    if placed < len(rows):
        raise RuntimeError(f"{chat.place}: {len(rows) - placed} of its rows are no part of it")
    return found


class _Seen(NamedTuple):
    """A token with its turn, whether it is trained, and which row it is in: -1 where it is cut."""

    token: Token
    turn: int
    trained: bool
    part: int


def _seen(
    record: Record,
    messages: list[Message],
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    trained: list[bool],
    parts: list[int],
) -> list[_Seen]:
    tokens = read_tokens(tokenizer, ids)
    text = "".join(token.text for token in tokens)
    turns = probe_turns(tokenizer)
    starts = turn_starts(tokenizer, messages, record.tools, text, turns)
    if isinstance(record, Problem):  # then the turn that is to be sampled
        starts.append(answer_start(tokenizer, messages, record.tools, text, turns))
    begins = accumulate((len(token.text) for token in tokens), initial=0)
    return [
        _Seen(token, bisect_right(starts, begin) - 1, bool(trained) and trained[at] and parts[at] >= 0, parts[at])
        for at, (token, begin) in enumerate(zip(tokens, begins, strict=False))
    ]


def _pieces(messages: list[Message], seen: Sequence[_Seen]) -> list[Piece]:
    roles = [*(message["role"] for message in messages), "assistant", _TEMPLATE]  # the last is that of turn -1
    return [
        Piece(turn, roles[turn], trained, part < 0, max(part, 0), [one.token for one in alike])
        for (turn, trained, part), alike in groupby(seen, key=lambda one: one[1:])
    ]


def _kept(length: int, settings: Mapping[str, Any]) -> list[int]:
    """0 for each of a row's tokens that stays below the limit, -1 for the others."""
    kept = range(length)[kept_part(settings.get("max_length"), settings.get("too_long", "keep_start"))]
    return [0 if at in kept else -1 for at in range(length)]


def _placed(
    rows: list[dict[str, Any]], whole: dict[str, Any], first: int, *, from_end: bool
) -> tuple[list[int], list[bool]]:
    """For each token of the `whole` row the number, from `first` on, of the first of `rows` that it is in (-1: none),
    and whether any of them trains it. As many of the rows count as are parts of the whole, in order, that share a
    token at most."""
    ids, labels = whole["input_ids"], whole["labels"]
    parts, trained = [-1] * len(ids), [False] * len(ids)
    start = max(len(ids) - len(rows[0]["input_ids"]), 0) if rows and from_end else 0
    for number, row in enumerate(rows, first):
        read, taught = row["input_ids"], row["labels"][1:]  # a part's first token has nothing to be predicted from
        ends = range(start + len(read), len(ids) + 1)
        fitting = (
            end for end in ends if ids[end - len(read) : end] == read and labels[end - len(taught) : end] == taught
        )
        end = next(fitting, None)
        if end is None:
            break
        for at, label in enumerate(row["labels"], end - len(read)):
            parts[at] = number if parts[at] < 0 else parts[at]
            trained[at] = trained[at] or label != IGNORED
        start = end - 1
    return parts, trained


def _answers(record: Preference | Feedback) -> dict[str, list[Message]]:
    if isinstance(record, Feedback):
        return {"completion": record.completion}
    return {"chosen": record.chosen, "rejected": record.rejected}


def _prompt_and_answers(
    record: Preference | Feedback,
    answers: dict[str, list[Message]],
    whole: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[list[int], list[list[int]]]:
    """Token ids of the prompt and of each answer after it; of a record that no row is made of, as they are rendered."""
    if whole:
        return whole[0]["prompt_ids"], [whole[0][f"{name}_ids"] for name in answers]
    rendered = [_encoded(tokenizer, record.prompt + answer, record) for answer in answers.values()]
    prompt = _encoded(tokenizer, record.prompt, record, add_generation_prompt=True)
    shared = min(
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, ids, strict=False))) for ids in rendered
    )
    return prompt[:shared], [ids[shared:] for ids in rendered]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], record: Record, *, add_generation_prompt: bool = False
) -> list[int]:
    text = render(tokenizer, messages, record.tools, add_generation_prompt=add_generation_prompt, place=record.place)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
