"""Which verdicts are used, which are not and why, and that none is lost on the way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from posttrain.builtin.thumbs import draw_log
from posttrain.curation.feedback.collect import UNKNOWN, UNREADABLE, Collected, Options, collect, dev_path
from posttrain.curation.feedback.report import document, report
from posttrain.curation.feedback.settle import CHANGED, DISPUTED, OUTVOTED, REPEATED, TIED
from posttrain.curation.feedback.verdict import NEITHER, NO_VERDICT
from posttrain.data.load import load_data
from posttrain.errors import UserError
from posttrain.recipe.schema import Data

Row = dict[str, Any]


def write(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(tmp_path: Path, rows: list[Row], **options: Any) -> tuple[Collected, list[Row]]:
    """Collect the rows; every verdict must be accounted for."""
    out = tmp_path / "kto.jsonl"
    done = collect([write(tmp_path / "log.jsonl", rows)], out, Options(force=True, **options))
    assert done.used + sum(done.left_out.values()) == done.verdicts
    written = read(out) + (read(dev_path(out)) if done.dev_path else [])
    assert len(written) == done.used == done.up + done.down
    assert sum(row["label"] for row in written) == done.up
    return done, written


def thumb(user: str | None, label: str | None, time: int | None = None, *, response: str = "4", **more: Any) -> Row:
    return {"prompt": "2 + 2?", "response": response, "thumb": label, "user": user, "time": time, **more}


def test_a_row_has_what_kto_reads_and_who_and_when(tmp_path: Path) -> None:
    _, rows = run(tmp_path, [thumb("ann", "up", 1767268800, conversation_id="c1")])
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "2 + 2?"}],
            "completion": [{"role": "assistant", "content": "4"}],
            "label": True,
            "user": "ann",
            "conversation": "c1",
            "time": "2026-01-01T12:00:00+00:00",
        }
    ]


def test_the_latest_verdict_of_a_user_counts_whatever_the_order(tmp_path: Path) -> None:
    rows = [thumb("ann", "down", 300), thumb("ann", "up", 100), thumb("ann", "down", 200), thumb("bob", "down", 50)]
    done, written = run(tmp_path, rows)
    assert [(row["user"], row["label"]) for row in written] == [("ann", False), ("bob", False)]
    assert done.left_out == {CHANGED: 1, REPEATED: 1}


def test_without_times_the_last_verdict_counts_and_with_some_those_that_have_one(tmp_path: Path) -> None:
    done, written = run(tmp_path, [thumb("ann", "down"), thumb("ann", "up")])
    assert [row["label"] for row in written] == [True]
    done, written = run(tmp_path, [thumb("ann", "down", 100), thumb("ann", "up")])
    assert [row["label"] for row in written] == [False]
    assert done.left_out == {CHANGED: 1}


@pytest.mark.parametrize(
    ("conflicts", "labels", "left_out"),
    [
        ("majority", [True, True], {OUTVOTED: 1, TIED: 2}),
        ("keep", [True, True, False, True, False], {}),
        ("drop", [], {DISPUTED: 5}),
    ],
)
def test_users_who_differ(tmp_path: Path, conflicts: str, labels: list[bool], left_out: dict[str, int]) -> None:
    rows = [thumb("ann", "up"), thumb("bob", "up"), thumb("cid", "down")]
    rows += [thumb("ann", "up", response="5"), thumb("bob", "down", response="5")]
    rows += [thumb("ann", "up", response="agreed")]
    done, written = run(tmp_path, rows, conflicts=conflicts)
    assert [row["label"] for row in written] == [*labels, True]
    assert done.left_out == left_out


def test_rows_without_a_user_are_one_user_or_their_conversation(tmp_path: Path) -> None:
    done, _ = run(tmp_path, [thumb(None, "up"), thumb(None, "up")])
    assert (done.used, done.left_out, done.users) == (1, {REPEATED: 1}, None)
    rows = [thumb(None, "up", session_id="a"), thumb(None, "up", session_id="b")]
    assert run(tmp_path, rows)[0].used == 2


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = [
        thumb("ann", "up"),
        thumb("ann", None),
        thumb("ann", "neutral"),
        thumb("ann", "so so", response="6"),
        thumb("ann", "up", response=""),
        {**thumb("ann", "up"), "prompt": ""},
        {**thumb("ann", "up"), "error": "timeout"},
        {**thumb("ann", "up"), "response": {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}},
    ]
    done, _ = run(tmp_path, rows)
    assert (done.rows, done.verdicts, done.used) == (8, 8, 1)
    assert done.left_out == {
        NO_VERDICT: 2,
        NEITHER: 1,
        "an empty answer": 1,
        "an empty prompt": 1,
        "an error instead of an answer": 1,
        "an answer that only calls tools": 1,
    }
    assert done.words == ["so so"]


def test_ratings_are_joined_by_id_from_the_same_file_and_from_others(tmp_path: Path) -> None:
    log = [
        {"id": f"chatcmpl-{i}", "messages": [{"role": "user", "content": f"{i} + 0?"}]}
        | {"choices": [{"message": {"role": "assistant", "content": str(i)}}], "user": "ann", "created": 100 + i}
        for i in range(5)
    ]
    log += [{"completion_id": "chatcmpl-0", "rating": "up"}, {"completion_id": "gone", "rating": "up"}]
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("id,rating,user,time\nchatcmpl-1,down,bob,500\nchatcmpl-1,up,ann,600\nchatcmpl-2,,,\n")
    done, rows = run(tmp_path, log, ratings=(str(ratings),))
    # Two verdicts of chatcmpl-1 differ, by the asker and by another; 2, 3 and 4 have none, one rating says nothing.
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [("0", True)]
    assert done.left_out == {TIED: 2, NO_VERDICT: 4, UNKNOWN: 1}
    assert (done.rows, done.ratings) == (5, 5)
    _, rows = run(tmp_path, log, ratings=(str(ratings),), conflicts="keep")
    assert [row["label"] for row in rows] == [True, False, True]
    assert rows[1]["time"] == "1970-01-01T00:08:20+00:00"


def test_a_csv_of_stars_needs_a_scale(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("question,answer,stars,user\na,b,5,ann\nc,d,1,ann\ne,f,3,bob\ng,h,4.0,bob\n")
    with pytest.raises(UserError, match=r"log\.csv:2: 5 under 'stars' is a score"):
        collect([str(path)], tmp_path / "kto.jsonl", Options())
    assert not (tmp_path / "kto.jsonl").exists()
    done = collect([str(path)], tmp_path / "kto.jsonl", Options(up_at=4, down_at=2))
    assert (done.up, done.down, done.left_out) == (2, 1, {"a score between --down-at and --up-at": 1})


def test_ids_are_dropped_and_groups_kept(tmp_path: Path) -> None:
    rows = [thumb(f"ann{i % 2}", "up", response=str(i), conversation_id="secret") for i in range(4)]
    done, written = run(tmp_path, rows, drop_ids=True)
    assert "ann" not in json.dumps(written)
    assert "secret" not in json.dumps(written)
    assert [row["user"] == written[0]["user"] for row in written] == [True, False, True, False]
    assert "ann" not in json.dumps([report(done), document(done)])
    _, again = run(tmp_path, rows, drop_ids=True)
    assert again[0]["user"] != written[0]["user"]


@pytest.mark.parametrize("by", ["user", "conversation", "prompt"])
def test_no_group_stands_on_both_sides(tmp_path: Path, by: str) -> None:
    rng = Random(3)
    rows = [
        {"prompt": f"question {rng.randrange(2000)}", "response": str(i), "thumb": rng.choice(["up", "down"])}
        | {"user": f"u{rng.randrange(200)}", "conversation": f"c{rng.randrange(300)}"}
        for i in range(400)
    ]
    done, _ = run(tmp_path, rows, dev=0.1, by=by, conflicts="keep")
    train, dev = read(tmp_path / "kto.jsonl"), read(tmp_path / "kto-dev.jsonl")
    assert done.held_out == len(dev)
    assert 20 <= len(dev) <= 80
    for name in ("prompt", by):
        assert not {json.dumps(row[name]) for row in train} & {json.dumps(row[name]) for row in dev}


def test_the_report_says_what_kto_will_weigh_and_warns(tmp_path: Path) -> None:
    rows = [thumb("ann" if i < 30 else f"u{i}", "up" if i % 5 else "down", response=str(i)) for i in range(50)]
    done, written = run(tmp_path, rows)
    assert document(done)["weights"] == {"up": 1.0, "down": 4.0}
    lines = report(done)
    assert lines[0] == "read 50 log rows: used 50 of 50 verdicts"
    assert "labels: 40 up (KTO's weight 1), 10 down (weight 4)" in lines
    assert "21 users; the busiest gave 60% of the verdicts" in lines
    assert any("one user gave 60%" in line for line in lines)
    # The weights are those that training sets, from the rows that it loads.
    loaded = load_data(Data.model_validate({"train": [{"path": str(tmp_path / "kto.jsonl")}]}), "kto", seed=1)
    assert Counter(record.label for record in loaded.train) == {True: done.up, False: done.down}
    assert len(loaded.train) == len(written)


def test_bad_rows_are_an_error_or_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(thumb("ann", "up")) + '\n{"prompt": "cut\n[1]\n')
    with pytest.raises(UserError, match=r"log\.jsonl:2"):
        collect([str(path)], tmp_path / "kto.jsonl", Options())
    done = collect([str(path)], tmp_path / "kto.jsonl", Options(skip_bad=True))
    assert (done.rows, done.used, done.left_out) == (3, 1, {UNREADABLE: 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conflicts": "majorty"}, "Did you mean 'majority'"),
        ({"by": "users"}, "Did you mean 'user'"),
        ({"dev": 1.5}, "is no share"),
        ({"columns": {"labels": "x"}}, "Did you mean 'label'"),
        ({"columns": {"label": "x"}}, "no row has a column 'x'"),
        ({"score": "quality"}, "none of the 1 verdicts can be used"),
        ({"dev": 0.5, "by": "conversation"}, "no row names its conversation"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(tmp_path: Path, options: Row, message: str) -> None:
    log = write(tmp_path / "log.jsonl", [thumb("ann", "up")])
    with pytest.raises(UserError, match=message):
        collect([log], tmp_path / "kto.jsonl", Options(**options))
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_the_shipped_log_of_thumbs(tmp_path: Path) -> None:
    rows = draw_log(Random("thumbs"))
    assert len(rows) == 2000
    done, written = run(tmp_path, rows, dev=0.1)
    assert done.left_out == {CHANGED: 120, REPEATED: 80}
    assert (done.up, done.down) == (1440, 360)
    last = {(row["prompt"], row["response"], row["user"]): row["thumb"] == "up" for row in rows}
    found = {
        (row["prompt"][0]["content"], row["completion"][0]["content"], row["user"]): row["label"] for row in written
    }
    assert found == last


def test_prompts_that_link_most_users_leave_few_to_hold_out_and_that_is_said(tmp_path: Path) -> None:
    rows = [thumb(f"u{i}", "up" if i % 2 else "down", response=str(i)) for i in range(96)]
    rows += [{**thumb(f"v{i}", "up"), "prompt": f"question {i}"} for i in range(4)]
    done, _ = run(tmp_path, rows, dev=0.2)
    assert done.held_out == 4
    assert any("few could be held out" in line for line in report(done))
