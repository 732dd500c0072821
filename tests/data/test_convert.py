"""A source becomes the same records however it is cut, by however many processes, and is converted once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.data import chunks, convert, workers
from posttrain.data.convert import convert_source
from posttrain.data.identity import keys_of
from posttrain.data.records import Chat
from posttrain.data.view import Records, open_stored
from posttrain.errors import UserError
from posttrain.recipe.schema import Source

ROWS = [{"prompt": f"q{index}", "completion": f"a{index}"} for index in range(500)]


def write(path: Path, rows: list[Any]) -> str:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)


def converted(path: str, *, system: str | None = None, skip_bad: bool = False, **more: Any) -> convert.Converted:
    source = Source(path=path, **more)
    return convert_source(
        source, "sft", system=system, skip_bad=skip_bad, where="sft.yaml path", format_where="sft.yaml format"
    )


def records(path: str, **more: Any) -> Records:
    found = converted(path, **more)
    return Records(Chat, [open_stored(found.path, found.names)])


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_how_it_is_cut_and_by_whom_does_not_matter(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "one"))
    path = write(tmp_path / name, ["", *ROWS[:250], "  ", *ROWS[250:]])
    whole = list(records(path))
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "two"))
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    cut = list(records(path))
    assert whole == cut and len(cut) == 500
    assert [record.place.rpartition(":")[2] for record in cut] == [
        str(number) for number in (*range(2, 252), *range(253, 503))
    ]
    assert all(record.place.startswith(str(tmp_path / name)) for record in cut)


def test_a_source_is_converted_once_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS[:5])
    first = converted(path).path
    assert converted(path).path == first
    moved = write(tmp_path / "moved.jsonl", ROWS[:5])
    assert converted(moved).path == first  # the same content
    assert records(moved)[0].place == f"{moved}:1"  # and yet its own place
    assert converted(path, system="Be brief.").path != first
    assert converted(path, columns={"prompt": "completion", "completion": "prompt"}).path != first
    write(tmp_path / "rows.jsonl", [*ROWS[:4], ROWS[7]])  # as long as before
    assert converted(path).path != first
    assert [chat.messages[-1]["content"] for chat in records(path)] == ["a0", "a1", "a2", "a3", "a7"]


def test_the_kept_keys_are_those_of_the_records(tmp_path: Path) -> None:
    turns = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    path = write(tmp_path / "rows.jsonl", [{"messages": turns}, {"messages": turns[:2]}])
    view = records(path, system="Be brief.")
    digests = (view.digests("content").tolist(), view.digests("prompt").tolist())
    kept = list(zip(*digests, view.column("asked"), strict=True))
    assert kept == [keys_of(record) for record in view]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "not valid JSON"),
        ('"text"', "a row must be an object"),
        ({"prompt": "q"}, "the column completion is missing"),
        ({"messages": [{"role": "bot?", "content": "x"}]}, "the row fits messages, and the first row"),
        ({"prompt": "q", "completion": "a", "tools": '["\\ud800"]'}, "without its other half"),
        ({"prompt": [{"role": "user", "content": '"\\ud800"'}], "completion": 7.5e400}, "is not a JSON number"),
    ],
)
def test_a_bad_row_is_an_error_or_skipped_and_counted(bad: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*ROWS[:3], bad, *ROWS[3:6], bad])
    with pytest.raises(UserError, match=said) as raised:
        converted(path)
    assert str(raised.value.where).endswith("rows.jsonl:4")
    found = converted(path, skip_bad=True)
    assert (found.counts.rows, found.counts.bad) == (8, 2)
    assert [place.partition(": ")[0].rpartition(":")[2] for place in found.counts.bad_examples] == ["4", "8"]
    assert len(records(path, skip_bad=True)) == 6


def test_half_a_character_inside_inner_json_is_refused(tmp_path: Path) -> None:
    calls = json.dumps([{"function": {"name": "f", "arguments": '{"x": "\\ud800"}'}}])
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls}]}
    path = write(tmp_path / "rows.jsonl", [row])
    with pytest.raises(UserError, match="without its other half") as raised:
        converted(path)
    assert str(raised.value.where).endswith("rows.jsonl:1")


def test_bad_rows_at_the_head_do_not_choose_the_format(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ["nothing", *ROWS[:3]])
    assert converted(path, skip_bad=True).title == "prompt/completion"
    with pytest.raises(UserError, match=r"no row can be read, the first for this: .*all.jsonl:1: not valid JSON"):
        converted(write(tmp_path / "all.jsonl", ["nothing"]), skip_bad=True)


def test_a_view_is_a_sequence(tmp_path: Path) -> None:
    one, two = (
        converted(write(tmp_path / f"{name}.jsonl", rows)) for name, rows in (("a", ROWS[:4]), ("b", ROWS[4:8]))
    )
    view = Records(Chat, [open_stored(found.path, found.names) for found in (one, two)])
    said = [chat.messages[0]["content"] for chat in view]
    assert said == [f"q{index}" for index in range(8)] and len(view) == 8
    assert [chat.messages[0]["content"] for chat in view[6:2:-2]] == ["q6", "q4"]
    assert view[-1] == view[7] and view[2:4] == [view[2], view[3]] and view[:3] != view[1:4]
    mixed = view.take([7, 0, 7])
    assert [chat.messages[0]["content"] for chat in mixed] == ["q7", "q0", "q7"]
    assert mixed.column("at") == [":4", ":1", ":4"]
    assert [(stored.names, batch, rows.tolist()) for stored, batch, rows in mixed.batches()] == [
        (one.names, 0, [0]),
        (two.names, 0, [3]),
    ]
    with pytest.raises(IndexError):
        view[8]


def test_one_content_is_read_as_its_suffix_says(tmp_path: Path) -> None:
    places = []
    for name in ("rows.jsonl", "rows.json"):
        (tmp_path / name).write_text(json.dumps(ROWS[0]))
        places.append(records(str(tmp_path / name))[0].place)
    assert places == [f"{tmp_path / 'rows.jsonl'}:1", f"{tmp_path / 'rows.json'} row 1"]


def test_a_skipped_row_is_named_by_the_file_that_was_read(tmp_path: Path) -> None:
    for name in ("one.jsonl", "two.jsonl"):
        path = tmp_path / name
        path.write_text(json.dumps(ROWS[0]) + "\nnot json\n")
        assert f"{path}:2" in converted(str(path), skip_bad=True).counts.bad_examples[0]


def test_a_source_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS[:5])
    digest = convert.file_digest

    def written_meanwhile(file: Path) -> str:
        write(tmp_path / "rows.jsonl", ROWS[5:20])
        return digest(file)

    monkeypatch.setattr(convert, "file_digest", written_meanwhile)
    with pytest.raises(UserError, match="changed while it was read"):
        converted(path)
    monkeypatch.undo()
    assert [chat.messages[0]["content"] for chat in records(path)] == [f"q{index}" for index in range(5, 20)]
