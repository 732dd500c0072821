"""From logs to the rows that KTO trains on: every verdict is used once, or counted with the reason why not.

Texts go to a temporary file as they come. What is kept in memory of a verdict is a few numbers and digests.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from posttrain.curation.feedback.clock import as_iso, seconds_of
from posttrain.curation.feedback.logs import Answer, rated_id, read_answers, read_rating
from posttrain.curation.feedback.names import check_columns
from posttrain.curation.feedback.scores import Given, Wanted
from posttrain.curation.feedback.settle import Verdicts, settle
from posttrain.curation.feedback.verdict import NO_VERDICT, Scale, read_verdict
from posttrain.curation.source import each_chunk, name_of
from posttrain.curation.write import encode, new_file, refuse_existing
from posttrain.data.chunks import rows_of
from posttrain.data.files import shown
from posttrain.data.identity import prompt_key
from posttrain.data.records import Feedback
from posttrain.data.split import hold_out, join_groups
from posttrain.errors import UserError, did_you_mean
from posttrain.recipe.schema import Source

UNKNOWN = "a rating of an answer that is not in the logs"
UNREADABLE = "a row that cannot be read"
BY = ("user", "conversation", "prompt")


@dataclass(frozen=True)
class Options:
    """What `data feedback` may be told; see its help."""

    ratings: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    score: str | None = None
    up_at: float | None = None
    down_at: float | None = None
    conflicts: str = "majority"
    drop_ids: bool = False
    dev: float | None = None
    by: str = "user"
    seed: int = 42
    skip_bad: bool = False
    force: bool = False


@dataclass
class Collected:
    """What became of the logs: `verdicts` is `used` and all of `left_out` together.

    `verdicts` counts rows without any as one. `rows` and `ratings` are what was read. `top_share` is the share of
    the used verdicts that one user gave, `users` how many gave any; both None where no row names its user.
    """

    path: str
    dev_path: str | None = None
    rows: int = 0
    ratings: int = 0
    verdicts: int = 0
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    up: int = 0
    down: int = 0
    dev_share: float | None = None
    held_out: int = 0
    users: int | None = None
    top_share: float | None = None
    scores_not_used: dict[str, int] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def collect(logs: Sequence[str], out: Path, options: Options) -> Collected:
    """Write the rows for KTO that the logs hold to `out`, and with `options.dev` a share of them beside it.

    Raises UserError for what cannot be read, for a verdict that would have to be guessed, and where nothing is left.
    """
    done = Collected(str(out), str(dev_path(out)) if options.dev is not None else None)
    done.dev_share = options.dev
    _check(options)
    for path in (done.path, done.dev_path):
        if path is not None:
            refuse_existing(Path(path), force=options.force)
    wanted, scale = Wanted(options.columns, options.score), Scale(options.up_at, options.down_at)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent) as spool:
            reading = _Reading(options, wanted, scale, done, spool)
            reading.read(logs)
            kept, reasons = settle(reading.verdicts, options.conflicts)
            reading.left_out.update(reasons)
            done.left_out = dict(reading.left_out.most_common())
            done.used, done.verdicts = len(kept), len(kept) + reading.left_out.total()
            done.scores_not_used, done.words = dict(wanted.unused.most_common()), scale.words
            if not kept:
                raise UserError(_nothing(done), where=", ".join(name_of(Source(path=path)) for path in logs))
            _measure(done, reading.verdicts, kept)
            _write(done, reading, kept, options)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", where=shown(out)) from error
    return done


def dev_path(out: Path) -> Path:
    """``kto.jsonl.gz`` has ``kto-dev.jsonl.gz`` beside it."""
    stem, _, suffixes = out.name.partition(".")
    return out.with_name(f"{stem}-dev.{suffixes}")


class _Reading:
    """One pass for the ratings and one for the answers; the latter's texts go to the spool."""

    def __init__(self, options: Options, wanted: Wanted, scale: Scale, done: Collected, spool: IO[bytes]) -> None:
        self.options, self.wanted, self.scale, self.done, self.spool = options, wanted, scale, done, spool
        self.found: set[str] = set()  # columns that --columns names
        self.ratings: dict[str, list[tuple[Given, str]]] = {}  # by id, each with its place
        self.met: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self.verdicts = Verdicts()

    def read(self, logs: Sequence[str]) -> None:
        """Read all. Raises UserError for a column of --columns that no row has."""
        for path in self.options.ratings:
            self._rate(path, "reading the ratings in", sure=True)
        for path in logs:
            self._rate(path, "looking for ratings in", sure=False)
        for path in logs:
            for row, place in self._rows(path, "reading", count_bad=True):
                if rated_id(row, self.wanted, self.found, place, sure=False) is None:
                    self.done.rows += 1
                    for answer in read_answers(row, self.wanted, self.found, place, self.ratings):
                        self._take(answer)
        missing = [theirs for theirs in self.options.columns.values() if theirs not in self.found]
        if missing:
            raise UserError(f"no row has a column {missing[0]!r}", where="--columns")
        self.left_out[UNKNOWN] += sum(len(given) for id, given in self.ratings.items() if id not in self.met)
        self.left_out += Counter()  # without what is zero

    def _rows(self, path: str, label: str, *, count_bad: bool) -> Iterator[tuple[dict[str, Any], str]]:
        def bad(error: UserError) -> None:
            if not self.options.skip_bad:
                raise error
            self.left_out[UNREADABLE] += count_bad
            self.done.rows += count_bad

        with each_chunk(Source(path=path), label) as chunks:
            for chunk in chunks:
                yield from rows_of(chunk, bad)

    def _rate(self, path: str, label: str, *, sure: bool) -> None:
        """Keep the ratings in a file, by the answer that they are of."""
        for row, place in self._rows(path, label, count_bad=sure):
            id = rated_id(row, self.wanted, self.found, place, sure=sure)
            if id is None:
                continue
            self.done.ratings += 1
            given = read_rating(row, self.wanted, place)
            self.left_out[NO_VERDICT] += not given
            if given:
                self.ratings.setdefault(id, []).extend((each, place) for each in given)

    def _take(self, answer: Answer) -> None:
        """Count each verdict of the answer as left out, or keep it with the answer's texts."""
        verdicts = [(given, answer.place) for given in answer.verdicts]
        for id in answer.ids:
            if id in self.ratings and id not in self.met:
                self.met.add(id)
                verdicts += self.ratings[id]
        if not verdicts:
            self.left_out[NO_VERDICT] += 1
        offset = None
        for given, at in verdicts:
            label = read_verdict(given.value, given.name, at, self.scale)
            why = label if isinstance(label, str) else answer.why
            if why is not None:
                self.left_out[why] += 1
                continue
            offset = self._spool(answer) if offset is None else offset
            seconds = seconds_of(given.time if given.time is not None else answer.time)
            rater = given.user or answer.user
            self.verdicts.add(
                bool(label),
                prompt=prompt_key(Feedback(answer.prompt, answer.completion, True)),
                answer=json.dumps([answer.prompt, answer.completion], sort_keys=True),
                rater=rater or answer.conversation,
                user=answer.user or rater,
                conversation=answer.conversation,
                seconds=seconds,
                offset=offset,
            )

    def _spool(self, answer: Answer) -> int:
        offset = self.spool.tell()
        self.spool.write(encode({"prompt": answer.prompt, "completion": answer.completion}))
        return offset


def _write(done: Collected, reading: _Reading, kept: array[int], options: Options) -> None:
    verdicts, salt = reading.verdicts, secrets.token_bytes(16) if options.drop_ids else None
    held = [False] * len(kept)
    if options.dev is not None:
        held = hold_out(_keys(verdicts, kept, options.by), options.dev, options.seed, where="--dev")
        done.held_out = sum(held)
    with ExitStack() as stack:
        file = stack.enter_context(new_file(Path(done.path), force=options.force))
        other = stack.enter_context(new_file(Path(done.dev_path), force=options.force)) if done.dev_path else None
        for index, aside in zip(kept, held, strict=True):
            reading.spool.seek(verdicts.offsets[index])
            row = json.loads(reading.spool.readline())
            row["label"] = bool(verdicts.labels[index])
            row["user"] = verdicts.name(verdicts.users[index], salt)
            row["conversation"] = verdicts.name(verdicts.conversations[index], salt)
            row["time"] = as_iso(verdicts.seconds[index])
            into = other if aside and other is not None else file
            into.write({key: value for key, value in row.items() if value is not None})


def _keys(verdicts: Verdicts, kept: array[int], by: str) -> list[bytes]:
    prompts = [verdicts.prompt(index) for index in kept]
    if by == "prompt":
        return prompts
    numbers = verdicts.users if by == "user" else verdicts.conversations
    groups = [verdicts.name(numbers[index], None) for index in kept]
    if not any(groups):
        raise UserError(f"no row names its {by}", where="--by", fix=f"`--columns {by}=COLUMN`, or another --by.")
    return join_groups(prompts, groups)


def _measure(done: Collected, verdicts: Verdicts, kept: array[int]) -> None:
    done.up = sum(verdicts.labels[index] for index in kept)
    done.down = len(kept) - done.up
    raters = Counter(verdicts.raters[index] for index in kept if verdicts.users[index] >= 0)
    if raters:
        done.users = len(raters)
        done.top_share = max(raters.values()) / len(kept)


def _check(options: Options) -> None:
    check_columns(options.columns)
    if options.conflicts not in ("majority", "keep", "drop"):
        hint = did_you_mean(options.conflicts, ("majority", "keep", "drop"))
        raise UserError(f"no way {options.conflicts!r}.{hint}", where="--conflicts", fix="majority, keep or drop.")
    if options.by not in BY:
        raise UserError(f"no way {options.by!r}.{did_you_mean(options.by, BY)}", where="--by", fix=", ".join(BY))
    if options.dev is not None and not 0 < options.dev < 1:
        raise UserError(f"{options.dev:g} is no share", where="--dev", fix="Give a share such as 0.1.")


def _nothing(done: Collected) -> str:
    reasons = "; ".join(f"{count:,}: {why}" for why, count in done.left_out.items())
    names = f". Scores that are not users' thumbs: {', '.join(done.scores_not_used)}" if done.scores_not_used else ""
    words = f". Such as: {', '.join(done.words)}" if done.words else ""
    return f"none of the {done.verdicts:,} verdicts can be used ({reasons}){words}{names}"
