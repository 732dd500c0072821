"""Broken files and rows by the thousand, each with what a person would make of it.

What is expected is written beside each way of breaking, never taken from the code that reads: a row is refused, with
its place; or left out; or it says exactly these records.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from posttrain.data.records import Chat, Feedback, Preference, Problem, Record

Row = dict[str, Any]
Turn = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A source's file, and what is expected of it.

    `refused_at` ends the place of the error (``rows.jsonl:3``; of a whole file its name or the recipe's key), and
    `skips` says how many rows ``bad_rows: skip`` counts, with `records` those that remain; None: it refuses too.
    Without `refused_at`, the records are `records`.
    """

    name: str
    stage: str
    file: str
    content: bytes
    records: list[Record]
    refused_at: str | None = None
    skips: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def user(text: Any) -> Turn:
    return {"role": "user", "content": text}


def assistant(text: Any, **more: Any) -> Turn:
    return {"role": "assistant", "content": text, **more}


def call(arguments: Any, **more: Any) -> Turn:
    return {"type": "function", "function": {"name": "add", "arguments": arguments}, **more}


TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


# The formats: a good row for a number, and the record that it is.
def _messages(n: int) -> tuple[Row, Record]:
    turns = [user(f"q{n} é"), assistant(f"a{n}")]
    return {"messages": turns}, Chat(turns)


def _sharegpt(n: int) -> tuple[Row, Record]:
    said = [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": f"a{n}"}]
    return {"conversations": said}, Chat([user(f"q{n}"), assistant(f"a{n}")])


def _prompt_completion(n: int) -> tuple[Row, Record]:
    return {"prompt": f"q{n} é", "completion": f"a{n}"}, Chat([user(f"q{n} é"), assistant(f"a{n}")])


def _alpaca(n: int) -> tuple[Row, Record]:
    row = {"instruction": f"q{n}", "input": "x", "output": f"a{n}"}
    return row, Chat([user(f"q{n}\n\nx"), assistant(f"a{n}")])


def _pair(n: int) -> tuple[Row, Record]:
    row = {"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"}
    return row, Preference([user(f"q{n}")], [assistant(f"a{n}")], [assistant(f"b{n}")])


def _implicit(n: int) -> tuple[Row, Record]:
    asked, good, bad = user(f"q{n}"), assistant(f"a{n}"), assistant(f"b{n}")
    return {"chosen": [asked, good], "rejected": [asked, bad]}, Preference([asked], [good], [bad])


def _hh(n: int) -> tuple[Row, Record]:
    row = {name: f"\n\nHuman: q{n}\n\nAssistant: {name[0]}{n}" for name in ("chosen", "rejected")}
    return row, Preference([user(f"q{n}")], [assistant(f"c{n}")], [assistant(f"r{n}")])


def _openai(n: int) -> tuple[Row, Record]:
    asked, good, bad = user(f"q{n}"), assistant(f"a{n}"), assistant(f"b{n}")
    row = {"input": {"messages": [asked]}, "preferred_output": [good], "non_preferred_output": [bad]}
    return row, Preference([asked], [good], [bad])


def _thumb(n: int) -> tuple[Row, Record]:
    row = {"prompt": f"q{n}", "completion": f"a{n}", "label": "up"}
    return row, Feedback([user(f"q{n}")], [assistant(f"a{n}")], True)


def _messages_label(n: int) -> tuple[Row, Record]:
    row = {"messages": [user(f"q{n}"), assistant(f"a{n}")], "label": 0}
    return row, Feedback([user(f"q{n}")], [assistant(f"a{n}")], False)


def _sharegpt_label(n: int) -> tuple[Row, Record]:
    row, _ = _sharegpt(n)
    return row | {"label": True}, Feedback([user(f"q{n}")], [assistant(f"a{n}")], True)


def _problem(n: int) -> tuple[Row, Record]:
    return {"question": f"q{n}", "answer": n}, Problem([user(f"q{n}")], {"answer": n, "prompt": f"q{n}"})


def _problem_messages(n: int) -> tuple[Row, Record]:
    fields = {"target": f"t{n}", "answer": f"t{n}", "prompt": f"q{n}"}
    return {"messages": [user(f"q{n}")], "target": f"t{n}"}, Problem([user(f"q{n}")], fields)


def _item(n: int) -> tuple[Row, Record]:
    row, record = _problem(n)
    return {"item": row}, record


@dataclass(frozen=True)
class Shape:
    """A format: its stage, its good rows, and of which kind each of its columns is."""

    stage: str
    good: Callable[[int], tuple[Row, Record]]
    columns: dict[str, str]


SHAPES = [
    Shape("sft", _messages, {"messages": "chat", "system": "system", "tools": "tools"}),
    Shape("sft", _sharegpt, {"conversations": "chat", "system": "system", "tools": "tools"}),
    Shape("sft", _prompt_completion, {"prompt": "prompt", "completion": "answer", "system": "system",
                                      "tools": "tools"}),
    Shape("sft", _alpaca, {"instruction": "text", "input": "about", "output": "text", "history": "history",
                           "system": "system", "tools": "tools"}),
    Shape("dpo", _pair, {"prompt": "prompt", "chosen": "answer", "rejected": "answer", "tools": "tools"}),
    Shape("dpo", _implicit, {"chosen": "whole", "rejected": "whole", "system": "system", "tools": "tools"}),
    Shape("dpo", _hh, {"chosen": "transcript", "rejected": "transcript"}),
    Shape("dpo", _openai, {"input": "input", "preferred_output": "answer", "non_preferred_output": "answer"}),
    Shape("kto", _thumb, {"prompt": "prompt", "completion": "answer", "label": "label", "tools": "tools"}),
    Shape("kto", _messages_label, {"messages": "judged", "label": "label", "system": "system"}),
    Shape("kto", _sharegpt_label, {"conversations": "judged", "label": "label", "tools": "tools"}),
    Shape("rlvr", _problem, {"question": "prompt", "system": "system", "tools": "tools"}),
    Shape("rlvr", _problem_messages, {"messages": "asked", "system": "system"}),
    Shape("eval", _item, {"item": "item"}),
]  # fmt: skip

SCALARS = [None, True, False, {}, []]  # no text, no messages, no label, no number
NO_OBJECT = [3, 1.5, "", "x", "null", [3], ["x"], [None], [[]], [{}], [[[{"role": "user", "content": "q"}]]]]

# Text that was meant as JSON and is none, or holds what no row may.
BROKEN_TEXT = [
    '[{"role": "user", "content": "q"',
    '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}',
    '[{"role": "user", "content": NaN}]',
    '[{"role": "user", "role": "user", "content": "q"}]',
    '[{"role": "user", "content": "\\ud83d"}]',
    "[{'role': 'user', 'content': 'q'}]",
    '[{"role": "user", "content": ' + "[" * 200 + "]" * 200 + "}]",
    '[{"role": "user", "content": "q", "weight": 1e999}]',
]

# One turn, in place of a user's or an assistant's, that says nothing that can be read.
BAD_TURNS: list[Any] = [
    None, 3, "x", [], {}, {"role": "user"}, {"content": "q"}, {"role": "usr", "content": "q"},
    {"role": None, "content": "q"}, {"role": 3, "content": "q"}, {"role": ["user"], "content": "q"},
    {"role": "User", "content": "q"}, {"role": "assistant", "content": None}, {"role": "user", "content": 3},
    {"role": "user", "content": True}, {"role": "user", "content": {}}, {"role": "user", "content": []},
    {"role": "user", "content": [None]}, {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
    {"role": "user", "content": [{"type": "image", "text": "x"}]}, {"role": "user", "content": [{"type": "text"}]},
    {"from": "user_", "value": "q"}, {"role": "user", "value": None}, {"role": "user", "contents": "q", "content": "q"},
    {"role": "user", "content": "q", "weight": 0}, {"role": "user", "content": "q", "name": 3},
    {"role": "user", "content": "q", "tool_calls": [call({})]},
    {"role": "system", "content": 3}, {"role": "tool", "content": None},
    assistant("a", weight=2), assistant("a", weight=-1), assistant("a", weight=0.5), assistant("a", weight="1"),
    assistant("a", weight=[]), assistant("a", weight="heavy"), assistant("a", reasoning_content=3),
    assistant("a", thinking=[]), assistant("a", reasoning={}), assistant("a", tool_cals=[call({})]),
    assistant("", tool_calls=3), assistant("", tool_calls={}), assistant("", tool_calls="x"),
    assistant("", tool_calls=False), assistant("", tool_calls=[3]), assistant("", tool_calls=[{}]),
    assistant("", tool_calls=[None]), assistant("", tool_calls=[[]]), assistant("", tool_calls=[{"function": {}}]),
    assistant("", tool_calls=[{"function": "add"}]), assistant("", tool_calls=[{"function": {"name": 3}}]),
    assistant("", tool_calls=[{"function": {"name": " ", "arguments": {}}}]),
    *(assistant("", tool_calls=[call(arguments)]) for arguments in (
        3, None, True, [], [1], "x", "3", "[1]", "null", '{"x": 1', '{"x": NaN}', '{"x": 1, "x": 2}', "{'x': 1}",
        '{"x": "\\udc00"}', '{"x": 1e999}', '{"x": 1} {}')),
    assistant("", tool_calls=[call({}, id=3)]), assistant("", tool_calls=[call({}, id=[])]),
    assistant("", tool_calls='[{"function": {"name": "add"'), assistant("", function_call={"name": "add"}),
    {"from": "function_call", "value": "x"}, {"from": "function_call", "value": '{"name": "add"'},
    {"from": "function_call", "value": '{"arguments": {}}'},
]  # fmt: skip

BAD_TOOLS: list[Any] = [
    3, 0, True, False, {}, "x", "{}", "3", [3], ["x"], [None], [[]], [{}], [{"type": "function"}],
    [{"function": {}}], [{"function": "add"}], [{"name": ""}], [{"name": 3}], [{"name": "add", "parameters": 3}],
    [{"name": "add", "parameters": "x"}], [{"name": "add", "parameters": []}], [{"name": "add", "description": 3}],
    '[{"name": "add"}', '[{"name": "add", "x": NaN}]', '[{"name": "add", "name": "b"}]', "[{'name': 'add'}]",
    '[{"name": "\\ud800"}]', [TOOL, 3],
]  # fmt: skip

BAD_LABELS: list[Any] = [None, "", " ", 2, -2, 0.5, 1e10, 10**30, "maybe", "10", "tru", "thumbs", "up!", "👍👎", [], {},
                         [True], {"up": 1}, "null", "None", "nan", "\u200bup"]  # fmt: skip


def nested(rng: random.Random, depth: int = 4) -> Any:
    """Garbage: lists and objects of garbage, without the keys that a message has."""
    kind = rng.randrange(6) if depth else rng.randrange(4)
    if kind == 4:
        return [nested(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 5:
        return {rng.choice("abcdé"): nested(rng, depth - 1) for _ in range(rng.randrange(3))}
    return [None, rng.randrange(-9, 9), rng.random(), rng.choice("xyz")][kind]


def _with_bad_turn(rng: random.Random, turns: list[Turn]) -> list[Any]:
    at = rng.randrange(len(turns))
    bad = rng.choice([*BAD_TURNS, [nested(rng)]])
    return [bad if index == at else turn for index, turn in enumerate(turns)]


def _bad_order(rng: random.Random) -> list[Turn]:
    """Turns that no conversation has."""
    made = assistant("", tool_calls=[call({}, id="1")])
    return rng.choice(
        [
            [user("q"), {"role": "tool", "content": "3"}, assistant("a")],
            [{"role": "tool", "content": "3"}, assistant("a")],
            [{"role": "system", "content": "s"}, {"role": "function", "content": "3"}, assistant("a")],
            [user("q"), made, {"role": "tool", "content": "3", "tool_call_id": "2"}, assistant("a")],
            [user("q"), made, user("r"), {"role": "tool", "content": "3", "tool_call_id": "1"}, assistant("a")],
        ]
    )


def bad_value(kind: str, rng: random.Random) -> Any:
    """A value that a column of this kind cannot have: the row is refused."""
    chat = [user("q"), assistant("a")]
    wrong: list[Any] = [*SCALARS, [nested(rng)], {"x": nested(rng)}]
    whole = [*wrong, *NO_OBJECT, _with_bad_turn(rng, chat), json.dumps(_with_bad_turn(rng, chat)), _bad_order(rng),
             rng.choice(BROKEN_TEXT), _with_bad_turn(rng, chat * 3)]  # fmt: skip
    prompt = [*wrong, "", " \n", [user("")], [user("q"), assistant("a")], [{"role": "system", "content": "s"}],
              rng.choice(BROKEN_TEXT), _with_bad_turn(rng, [user("q")]), _with_bad_turn(rng, [*chat, user("r")]),
              _with_bad_turn(rng, [user("q")])[0], ["q"], [None], [[user("q")]]]  # fmt: skip
    bad = {
        "chat": [*whole, [user("q")], [user(" "), assistant("a")], [{"role": "system", "content": "s"}]],
        "whole": [*whole, [user("q")], [assistant("a")], [user("other"), assistant("a")]],
        "judged": [*whole, [user("q")], [assistant("a")], [user("q"), assistant("a"), user("r")]],
        "asked": [*whole, chat, [assistant("a")], [{"role": "system", "content": "s"}]],
        "prompt": prompt,
        "answer": [*wrong, rng.choice(BROKEN_TEXT), [user("q"), assistant("a")][:1], ["a"], [None],
                   _with_bad_turn(rng, [assistant("a")]), [assistant("a"), rng.choice(BAD_TURNS)]],
        "text": [*wrong, ["q"], [user("q")]],
        "about": [True, False, [], {}, ["x"], [nested(rng)]],
        "system": [3, 0, 1.5, True, False, [], {}, ["s"], {"content": "s"}, [nested(rng)]],
        "tools": BAD_TOOLS,
        "label": [*BAD_LABELS, [nested(rng)]],
        "history": [3, 0, True, False, {}, "x", [3], ["ab"], [["q"]], [["q", "a", "b"]], [["q", 3]], [["q", None]],
                    [["", "a"]], '[["q", "a"]', [[]], [{"q": "a"}], [None]],
        "transcript": [*wrong, 3, "", "q", "Assistant: a", "\n\nAssistant: a", "\n\nHuman: q", "User: q",
                       "\n\nHuman: q\n\nAssistant: a\n\nHuman: r", "Human q\n\nAssistant: a"],
        "input": [*wrong, 3, "x", "{}", {"messages": rng.choice([*SCALARS, *NO_OBJECT])}, {"messages": chat},
                  {"messages": _with_bad_turn(rng, [user("q")])},
                  {"messages": [user("q")], "tools": rng.choice(BAD_TOOLS)}],
        "item": [*wrong, 3, "x", '{"question": "q"}', {"answer": 3}, {"question": rng.choice([*SCALARS, "", " "])},
                 {"question": "q", "query": "r"}, {"messages": chat}, {"messages": rng.choice(NO_OBJECT)},
                 {"question": "q", "tools": rng.choice(BAD_TOOLS)}, {"question": "q", "system": 3}],
    }  # fmt: skip
    return rng.choice(bad[kind])


def line(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8")


def bad_rows(rng: random.Random) -> Iterator[Case]:
    """A row of a known format with one column of a type or a text that it cannot have."""
    while True:
        shape = rng.choice(SHAPES)
        column, kind = rng.choice(list(shape.columns.items()))
        # The pair's answers that are read as whole conversations are refused by other words, not read otherwise.
        rows, records, at = _rows(shape, rng)
        rows[at] = {**rows[at], column: bad_value(kind, rng)}
        name = f"{shape.good.__name__} {column}={rows[at][column]!r:.90}"
        yield _lines(name, shape.stage, list(map(line, rows)), records, at, rng)


def _rows(shape: Shape, rng: random.Random) -> tuple[list[Row], list[Record], int]:
    count = rng.randrange(2, 7)
    good = [shape.good(n) for n in range(count)]
    return [row for row, _ in good], [record for _, record in good], rng.randrange(count)


def _lines(
    name: str, stage: str, lines: list[bytes], records: list[Record], bad: int, rng: random.Random, **more: Any
) -> Case:
    """Lines of which one is bad, in a file of JSONL or of gzipped JSONL."""
    zipped = rng.random() < 0.1
    file = "rows.jsonl.gz" if zipped else rng.choice(["rows.jsonl", "rows.ndjson"])
    content = b"\n".join(lines) + b"\n"
    kept = records[:bad] + records[bad + 1 :]
    return Case(name, stage, file, gzip.compress(content) if zipped else content, kept, f"{file}:{bad + 1}", 1, **more)


def _cut(good: bytes, rng: random.Random) -> bytes:
    return good[: rng.randrange(1, len(good))]


def _insert(good: bytes, what: bytes, rng: random.Random) -> bytes:
    """`what` inside of a text of the line."""
    at = good.rindex(b"q") if b"q" in good else good.rindex(b'"')
    del rng
    return good[:at] + what + good[at:]


def _column(text: str) -> Callable[[bytes, random.Random], bytes]:
    return lambda good, rng: good[:-1] + b', "more": ' + text.encode() + b"}"


BAD_LINES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": _cut,
    "cut at its start": lambda good, rng: good[rng.randrange(1, len(good)) :],
    "byte 0xff": lambda good, rng: _insert(good, b"\xff", rng),
    "half a character": lambda good, rng: _insert(good, b"\xc3", rng),
    "a raw lone surrogate": lambda good, rng: _insert(good, b"\xed\xa0\x80", rng),
    "an overlong slash": lambda good, rng: _insert(good, b"\xc0\xaf", rng),
    "latin-1": lambda good, rng: _insert(good, "é".encode("latin-1") + b"t", rng),
    "utf-16": lambda good, rng: good.decode().encode("utf-16"),
    "utf-16-le": lambda good, rng: good.decode().encode("utf-16-le"),
    "a NUL in a text": lambda good, rng: _insert(good, b"\0", rng),
    "NULs after a crash": lambda good, rng: b"\0" * rng.randrange(1, 99),
    "a raw tab": lambda good, rng: _insert(good, b"\t", rng),
    "a lone surrogate": lambda good, rng: _insert(good, rng.choice([b"\\ud83d", b"\\ude00", b"\\ude00\\ud83d"]), rng),
    "an unknown escape": lambda good, rng: _insert(good, b"\\x41", rng),
    "NaN": _column("NaN"),
    "Infinity": _column("-Infinity"),
    "a float out of range": _column("1e999"),
    "an integer of 5,000 digits": _column("1" * 5000),
    "nested deeper than any row": _column("[" * 100 + "]" * 100),
    "objects nested 3,000 deep": _column('{"a":' * 3000 + "1" + "}" * 3000),
    "nested without end": lambda good, rng: b"[" * rng.choice([101, 2000, 100_000]),
    "a key twice": lambda good, rng: good[:-1] + b", " + good[1:],
    "a key twice, deep": _column('{"a": [{"b": 1, "b": 1}]}'),
    "a comma too many": lambda good, rng: good[:-1] + b",}",
    "two rows in a line": lambda good, rng: good + good,
    "two rows and a comma": lambda good, rng: good + b"," + good,
    "a list of the row": lambda good, rng: b"[" + good + b"]",
    "the row as a text": lambda good, rng: json.dumps(good.decode()).encode(),
    "Python's repr": lambda good, rng: repr(json.loads(good)).encode(),
    "a comment": lambda good, rng: b"// " + good,
    "a number": lambda good, rng: rng.choice([b"3", b"-0.0", b"1e3"]),
    "a constant": lambda good, rng: rng.choice([b"null", b"true", b'""', b"[]"]),
    "no columns": lambda good, rng: b"{}",
    "another row's columns": lambda good, rng: b'{"text": "x", "Prompt": "q"}',
    "not JSON at all": lambda good, rng: rng.choice([b"<html>", b"---", b"prompt,completion", b"version https://"]),
    "two byte order marks": lambda good, rng: b"\xef\xbb\xbf\xef\xbb\xbf" + good,
}


def bad_lines(rng: random.Random) -> Iterator[Case]:
    """A line of JSONL that is no JSON, or no row."""
    while True:
        shape = rng.choice([shape for shape in SHAPES if shape.good not in (_hh,)])
        rows, records, at = _rows(shape, rng)
        lines = list(map(line, rows))
        name = rng.choice(list(BAD_LINES))
        lines[at] = BAD_LINES[name](lines[at], rng)
        if b"\n" in lines[at]:  # UTF-16 of a few characters
            continue
        case = _lines(f"{shape.good.__name__}: {name}", shape.stage, lines, records, at, rng)
        yield case


def good_files(rng: random.Random) -> Iterator[Case]:
    """What looks odd and is read: byte order marks, line ends, blank lines, other writers' escapes."""
    while True:
        shape = rng.choice(SHAPES)
        rows, records, _ = _rows(shape, rng)
        lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5).encode() for row in rows]
        lines = [each for one in lines for each in [*rng.choice([[], [b""], [b" \t"], [b"\r"]]), one]]
        if shape.stage not in ("rlvr", "eval"):  # problems keep every column
            more = rng.choice([b"1e300", b"9" * 4000, b"[" * 90 + b"]" * 90, b'"\\ud83d\\ude00"', b'"\\u0000"', b"null",
                               '"\u2028\u0085\ufeff"'.encode(), b'{"a": {}, "b": [null]}'])  # fmt: skip
            lines[-1] = lines[-1][:-1] + b', "more": ' + more + b"}"
        content = rng.choice([b"\n", b"\r\n"]).join(lines) + rng.choice([b"", b"\n", b"\n\n \n"])
        content = rng.choice([b"", b"\xef\xbb\xbf"]) + content
        file = rng.choice(["rows.jsonl", "rows.ndjson", "rows.json", "rows.jsonl.gz"])
        if file == "rows.json" and len(rows) == 1:
            continue
        yield Case(
            "odd but good", shape.stage, file, gzip.compress(content) if file.endswith("gz") else content, records
        )


# A value, and the record that comes of it: what is accepted, and how.
def _accepted() -> list[tuple[str, Row, Record | None]]:
    chat = [user("q"), assistant("a")]
    system = {"role": "system", "content": "s"}
    made = assistant("", tool_calls=[call({"x": 1}, id="1")])
    result = {"role": "tool", "content": "3", "tool_call_id": "1"}
    pc = {"prompt": "q", "completion": "a"}
    asked = [user("q")]
    turns: list[list[Turn]] = [
        [system, *chat], [system, system, *chat], [*chat, system, *chat], [assistant("hi"), *chat], [*chat, user("r")],
        [*chat, assistant("b")], [user("q"), user("r"), assistant("a")], [user("q"), made, result, assistant("a")],
        [user("q"), assistant("<tool_call>"), {"role": "tool", "content": "3"}, assistant("a")], chat * 300,
        [user("q"), assistant("a", weight=0), user("r"), assistant("b", weight=1)],
        [user("q"), assistant("a", reasoning_content="t")], [user("q"), assistant("\0é\U0001f600\ufffd")],
    ]  # fmt: skip
    same: list[tuple[str, Row, Record | None]] = [("sft", {"messages": each}, Chat(each)) for each in turns]
    return [
        *same,
        ("sft", {"messages": json.dumps(chat, indent=1)}, Chat(chat)),
        ("sft", {"messages": [user("q"), assistant("a", id="7", refusal=None, weight=None)]}, Chat(chat)),
        ("sft", {"messages": [user([{"type": "text", "text": "q"}]), assistant(["a", ""])]}, Chat(chat)),
        ("sft", {"messages": [user("q"), assistant("a", tool_calls=None)]}, Chat(chat)),
        ("sft", {"messages": [user("q"), assistant("a", tool_calls=[])]}, Chat(chat)),
        ("sft", {"messages": [user("q"), assistant("")]}, None),
        ("sft", {"messages": [user("q"), assistant("a", weight=0)]}, None),
        ("sft", {"prompt": 3, "completion": 1.5}, Chat([user("3"), assistant("1.5")])),
        ("sft", {"prompt": json.dumps([user("q")], indent=2), "completion": "a"}, Chat(chat)),
        ("sft", {"prompt": "q", "completion": '[{"from": "Paris", "to": "Rome"}]'},
         Chat([user("q"), assistant('[{"from": "Paris", "to": "Rome"}]')])),
        ("sft", {"prompt": "q", "completion": '[{"role": "admin", "rights": [1'},
         Chat([user("q"), assistant('[{"role": "admin", "rights": [1')])),
        ("sft", {"prompt": "[{", "completion": '{"x": NaN'}, Chat([user("[{"), assistant('{"x": NaN')])),
        ("sft", pc | {"completion": ""}, None),
        ("sft", pc | {"system": " "}, Chat(chat)), ("sft", pc | {"system": None}, Chat(chat)),
        ("sft", pc | {"system": "s"}, Chat([system, *chat])),
        ("sft", pc | {"tools": []}, Chat(chat)), ("sft", pc | {"tools": ""}, Chat(chat)),
        ("sft", pc | {"tools": [TOOL]}, Chat(chat, [TOOL])), ("sft", pc | {"label": {}, "x": [[]]}, Chat(chat)),
        ("sft", pc | {"tools": json.dumps([TOOL["function"]])}, Chat(chat, [TOOL])),
        ("sft", {"instruction": "", "input": "q", "output": "a"}, Chat(chat)),
        ("sft", {"instruction": "q", "input": None, "output": "a", "history": ""}, Chat(chat)),
        ("sft", {"instruction": "q", "output": "a", "history": [["q", "a"]]}, Chat(chat * 2)),
        ("dpo", {"prompt": "q", "chosen": "a", "rejected": ""}, Preference(asked, chat[1:], [assistant("")])),
        ("dpo", {"prompt": "q", "chosen": "", "rejected": "b"}, None),
        ("dpo", {"prompt": "q", "chosen": "a", "rejected": "a"}, None),
        ("dpo", {"prompt": "q", "chosen": 1, "rejected": 2}, Preference(asked, [assistant("1")], [assistant("2")])),
        *(("kto", pc | {"label": up}, Feedback(asked, chat[1:], True)) for up in (True, 1, 1.0, "👍🏽", " YES ", "+1")),
        *(("kto", pc | {"label": down}, Feedback(asked, chat[1:], False)) for down in (False, 0, -1, "👎", "No", "-1")),
        ("kto", {"prompt": "q", "completion": "", "label": 1}, None),
        ("rlvr", {"prompt": "q"}, Problem(asked, {"prompt": "q"})),
        ("rlvr", {"prompt": "q", "answer": None, "target": "t"},
         Problem(asked, {"answer": "t", "target": "t", "prompt": "q"})),
        ("rlvr", {"prompt": 7, "answer": [1, {"a": None}]},
         Problem([user("7")], {"answer": [1, {"a": None}], "prompt": "7"})),
        ("eval", {"item": {"messages": [user("q")], "x": ""}}, Problem(asked, {"x": "", "prompt": "q"})),
    ]  # fmt: skip


def good_rows(rng: random.Random) -> Iterator[Case]:
    """Rows that a person would accept, or leave out; one good row is always with them."""
    while True:
        for stage, row, record in _accepted():
            first = {"sft": _messages, "dpo": _pair, "kto": _thumb, "rlvr": _problem, "eval": _item}[stage]
            if stage == "sft" and "prompt" in row:
                first = _prompt_completion
            if stage == "sft" and "instruction" in row:
                first = _alpaca
            good, known = first(rng.randrange(99))
            records = [known] if record is None else [known, record]
            yield Case(f"{stage} {row!r:.90}", stage, "rows.jsonl", line(good) + b"\n" + line(row) + b"\n", records)


def mixed_formats(rng: random.Random) -> Iterator[Case]:
    """A row of another format, or of two, among rows of one; formats and columns that do not fit."""
    while True:
        shape = rng.choice(SHAPES)
        other = rng.choice([each for each in SHAPES if each.stage == shape.stage and each is not shape] or [_ALPACA])
        rows, records, at = _rows(shape, rng)
        at = max(at, 1)
        other_row = other.good(9)[0]
        way = rng.choice(["other", "named", "theirs", "ours"])
        settings: dict[str, Any] = {}
        if way in ("other", "named"):
            rows[at] = other_row
        if way == "named":
            settings["format"] = _NAMES[shape.good.__name__]
            if (shape.good, other.good) in _READ_TOO:
                continue
        column = next(iter(shape.columns))
        if way in ("theirs", "ours"):
            for row in rows:
                row["theirs"] = row.pop(column)
            settings["columns"] = {column: "theirs"}
        if way == "theirs":
            rows[at]["thiers"] = rows[at].pop("theirs")
        name = f"{way}: {shape.good.__name__}, {other.good.__name__}"
        case = _lines(name, shape.stage, list(map(line, rows)), records, at, rng, settings=settings)
        if way == "ours":
            if shape.stage in ("rlvr", "eval"):
                continue  # a grader may read any column
            case = replace(case, settings={"columns": {column + "s_": "theirs"}}, refused_at="path", skips=None)
        yield case


_ALPACA = Shape("sft", _alpaca, {})
_NAMES = {
    "_messages": "messages", "_sharegpt": "sharegpt", "_prompt_completion": "prompt_completion", "_alpaca": "alpaca",
    "_pair": "prompt_chosen_rejected", "_implicit": "chosen_rejected", "_hh": "hh", "_openai": "openai",
    "_thumb": "prompt_completion_label", "_messages_label": "messages_label", "_sharegpt_label": "sharegpt_label",
    "_problem": "prompt_answer", "_problem_messages": "messages", "_item": "item",
}  # fmt: skip
# A format that is named reads rows that auto finds another format for.
_READ_TOO = {(_messages, _sharegpt), (_sharegpt, _messages), (_messages_label, _sharegpt_label),
             (_sharegpt_label, _messages_label)}  # fmt: skip


def _separated(rows: list[list[str]], delimiter: str, end: str) -> list[bytes]:
    lines = []
    for row in rows:
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator=end).writerow(row)
        lines.append(text.getvalue().encode())
    return lines


def separated_files(rng: random.Random) -> Iterator[Case]:
    """CSV and TSV: quotes, counts of fields, headers, encodings, JSON in a field."""
    while True:
        delimiter, file = rng.choice([(",", "rows.csv"), ("\t", "rows.tsv"), (",", "rows.csv.gz")])
        count = rng.randrange(2, 7)
        rows = [[f"q{n} é", f'a"{n}"{delimiter} b'] for n in range(count)]
        records: list[Record] = [Chat([user(q), assistant(a)]) for q, a in rows]
        end = rng.choice(["\n", "\r\n"])
        header, *lines = _separated([["prompt", "completion"], *rows], delimiter, end)
        at = rng.randrange(count)
        sep, nl = delimiter.encode(), end.encode()
        kept: list[Record] = records[:at] + records[at + 1 :]
        place, skips = f"{file}:{at + 2}", 1
        bad_line = {
            "a field too many": b"q" + sep + b"a" + sep + b"b" + nl,
            "a field too few": b"q" + nl,
            "the header again": header,
            "a byte order mark": b"\xef\xbb\xbf" + lines[at],
            "latin-1": "q é".encode("latin-1") + sep + b"a" + nl,
            "a raw surrogate": b"\xed\xb0\x80" + sep + b"a" + nl,
            "an empty prompt": sep + b"a" + nl,
            "a blank prompt": b" " + sep + b"a" + nl,
            "a cut list of messages": _separated([['[{"role": "user", "content": "q"', "a"]], delimiter, end)[0],
            "a list as Python writes it": _separated([["[{'role': 'user', 'content': 'q'}]", "a"]], delimiter, end)[0],
            "an answer of the user's": _separated([["q", '[{"role": "user", "content": "q"}]']], delimiter, end)[0],
        }
        whole = {
            "an open quote": (b'"q' + sep + b"a" + nl, place),
            "a quote's end within a field": (b'"q" x' + sep + b"a" + nl, place),
        }
        other = ["good", "blank lines", "BOM", "header twice", "no name", "no rows", "utf-16", "semicolons", "a NUL"]
        way = rng.choice([*bad_line, *whole, *other])
        case = Case(f"csv: {way}", "sft", file, b"", records)
        if way in bad_line:
            lines[at] = bad_line[way]
            case = replace(case, records=kept, refused_at=place, skips=skips)
        elif way in whole:
            lines[at], place = whole[way]
            if way == "an open quote":
                lines = lines[: at + 1]  # else the next quote closes it
            case = replace(case, refused_at=place)
        elif way == "blank lines":
            lines = [each for one in lines for each in (nl, one)]
        elif way == "BOM":
            header = b"\xef\xbb\xbf" + header
        elif way == "header twice":
            header = b"prompt" + sep + b" prompt" + nl
            case = replace(case, refused_at=f"{file}:1")
        elif way == "no name":
            header = b"prompt" + sep + nl
            case = replace(case, refused_at=f"{file}:1")
        elif way == "no rows":
            lines = []
            case = replace(case, refused_at="path")
        elif way == "semicolons":
            header, lines = b"prompt;completion" + nl, [b"q;a" + nl] * count
            case = replace(case, refused_at=f"{file}:2", stage="rlvr")
        elif way == "a NUL":
            lines[at] = b"q\0" + sep + b"a" + nl
            case = replace(case, refused_at=place, records=kept, skips=-1)  # Python 3.10 reads no further
        content = header + b"".join(lines)
        if way == "utf-16":
            content = content.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be"]))
            case = replace(case, refused_at=f"{file}:1")
        yield replace(case, content=gzip.compress(content) if file.endswith(".gz") else content)


def json_files(rng: random.Random) -> Iterator[Case]:
    """A .json file: a list of rows, or an object with one, cut or with a row that is none."""
    while True:
        shape = rng.choice(SHAPES)
        rows, records, at = _rows(shape, rng)
        values: list[Any] = list(rows)
        way = rng.choice(["good", "data", "bad row", "no row", "cut", "other", "empty", "lines", "utf-16"])
        case = Case(f"json: {way}", shape.stage, "rows.json", b"", records)
        if way == "bad row":
            column, kind = rng.choice(list(shape.columns.items()))
            values[at] = {**rows[at], column: bad_value(kind, rng)}
        elif way == "no row":
            values[at] = rng.choice([None, 3, "x", [], [rows[at]]])
        if way in ("bad row", "no row"):
            kept = records[:at] + records[at + 1 :]
            case = replace(case, refused_at=f"rows.json row {at + 1}", records=kept, skips=1)
        content = json.dumps({"data": values} if way == "data" else values, indent=rng.choice([None, 1])).encode()
        if way == "cut":
            content = _cut(content.rstrip(), rng)
            case = replace(case, refused_at="rows.json")
        elif way == "utf-16":
            content = content.decode().encode("utf-16")
            case = replace(case, refused_at="rows.json")
        elif way == "other":
            content = rng.choice([b"3", b"null", b'"x"', b"true", b"NaN", b"[" * 5000, b"{", b"\0\0", b"[1,]"])
            case = replace(case, refused_at="rows.json")
        elif way == "empty":
            content = rng.choice([b"", b" \n", b"[]", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b'{"data": []}'])
            case = replace(case, refused_at="path")
        elif way == "lines":
            content = b"\n".join([*map(line, rows), b'{"cut": '])
            case = replace(case, refused_at=f"rows.json:{len(rows) + 1}", skips=1)
            if len(rows) < 2:
                continue
        yield replace(case, content=content)


def broken_archives(rng: random.Random) -> Iterator[Case]:
    """Files that were cut, or are not what their name says: nothing of them is read, whatever is skipped."""
    while True:
        shape = rng.choice(SHAPES)
        rows, records, _ = _rows(shape, rng)
        plain = b"\n".join(map(line, rows)) + b"\n"
        zipped = gzip.compress(plain)
        flipped = bytearray(zipped)
        flipped[rng.randrange(len(zipped) - 8, len(zipped) - 4)] ^= 1 << rng.randrange(8)  # of the checksum
        way, content = rng.choice(
            [
                ("cut", zipped[: rng.randrange(1, len(zipped))]),
                ("garbage after it", zipped + b"garbage"),
                ("a false checksum", bytes(flipped)),
                ("not zipped", plain),
                ("empty", b""),
                ("blank", gzip.compress(b"\n \n")),
                ("two members", gzip.compress(plain[:20]) + gzip.compress(plain[20:])),
                ("zeros after it", zipped + b"\0" * 64),
            ]
        )
        refused = None if way in ("two members", "zeros after it") else "path"
        yield Case(f"gzip: {way}", shape.stage, "rows.jsonl.gz", content, records, refused)
        empty = rng.choice([b"", b"\n", b" \n\t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
        yield Case("empty", shape.stage, rng.choice(["rows.jsonl", "rows.csv"]), empty, [], "path")


def parquet_files(rng: random.Random) -> Iterator[Case]:
    """Parquet that was cut, and columns of every type that no row has."""
    import datetime
    import decimal

    import pyarrow as pa
    from pyarrow import parquet

    def written(table: Any) -> bytes:
        sink = io.BytesIO()
        parquet.write_table(table, sink)
        return sink.getvalue()

    day, dec = datetime.date(2024, 1, 2), decimal.Decimal("1.50")
    pairs = pa.map_(pa.string(), pa.string())
    wrong = [
        pa.array([True]), pa.array([day]), pa.array([datetime.datetime(2024, 1, 2)]), pa.array([dec]),
        pa.array([b"\xff\xfe"]), pa.array([[("a", "b")]], pairs), pa.array([[("a", "b"), ("a", "c")]], pairs),
        pa.array([[1, 2]]), pa.array([{"a": None}]), pa.array([{"role": "user"}]), pa.array([None], pa.string()),
        pa.array([None]), pa.array([float("nan")]), pa.array([float("inf")]), pa.array([datetime.time(1)]),
        pa.array([datetime.timedelta(1)]), pa.array([[None]], pa.list_(pa.string())), pa.array([""]), pa.array(["  "]),
        pa.array([[{"role": "user", "content": None}]]), pa.array([2**62], pa.timestamp("us")),
        pa.array([b"\xff"], pa.binary(1)), pa.array([[{"role": None, "content": "q"}]]),
    ]  # fmt: skip
    good: list[tuple[Any, str]] = [
        (pa.array(["q"]), "q"), (pa.array(["q"], pa.large_string()), "q"), (pa.array([3], pa.int8()), "3"),
        (pa.array(["q"]).dictionary_encode(), "q"), (pa.array([b"q"]), "q"), (pa.array([2.5]), "2.5"),
        (pa.array([[{"role": "user", "content": "q", "name": None}]]), "q"), (pa.array(["é😀"]), "é😀"),
        (pa.array(['[{"role": "user", "content": "q"}]']), "q"), (pa.array(["q"], pa.string_view()), "q"),
    ]  # fmt: skip
    labels = [
        (pa.array([1], pa.int8()), True), (pa.array([False]), False), (pa.array([1.0]), True),
        (pa.array([float("nan")]), None), (pa.array([b"\xff"]), None),
    ]  # fmt: skip
    golds = [
        (pa.array([3]), 3), (pa.array([day]), "2024-01-02"), (pa.array([dec]), "1.50"), (pa.array([b"\xff"]), None),
        (pa.array([float("inf")]), None), (pa.array([[("a", "b")]], pairs), {"a": "b"}),
    ]  # fmt: skip
    more = [
        pa.array([day]),
        pa.array([b"\xff"]),
        pa.array([[("a", "b")]], pairs),
        pa.array([float("nan")]),
        pa.array([None]),
    ]
    while True:
        answers = pa.array(["a"])
        prompt, said = rng.choice(good)
        record = Chat([user(said), assistant("a")])
        file = rng.choice(["rows.parquet", "rows.parquet", "rows.parquet.gz"])
        content = written(pa.table({"prompt": prompt, "completion": answers, "more": rng.choice(more)}))
        case = Case(f"parquet: {prompt.type}", "sft", file, content, [record])
        way = rng.choice(["good", "wrong", "wrong", "cut", "garbage", "no rows", "label", "answer"])
        if way == "wrong":
            column = rng.choice(wrong)
            table = pa.table({"prompt": column, "completion": answers})
            case = replace(
                case, name=f"parquet: {column!s:.60}", content=written(table), refused_at=" row 1", records=[]
            )
            if column.type == pairs or column.type == pa.timestamp("us"):  # no Python value holds it
                case = replace(case, refused_at="")
        elif way == "cut":
            case = replace(case, content=content[: rng.randrange(1, len(content))], refused_at=file)
        elif way == "garbage":
            garbage = rng.choice([b"PAR1", b"PAR1PAR1", b"x" * 99, b"PAR1" + b"\xff" * 40 + b"PAR1", b"{}\n"])
            case = replace(case, content=garbage, refused_at=file)
        elif way == "no rows":
            case = replace(case, content=written(pa.table({"prompt": prompt[:0], "completion": answers[:0]})))
            case = replace(case, refused_at="path")
        elif way == "label":
            label, up = rng.choice(labels)
            rows = written(pa.table({"prompt": ["q"], "completion": answers, "label": label}))
            thumb = Feedback([user("q")], [assistant("a")], bool(up))
            case = replace(case, stage="kto", content=rows, records=[thumb] if up is not None else [])
            case = replace(case, refused_at=" row 1" if up is None else None)
        elif way == "answer":
            value, answer = rng.choice(golds)
            rows = written(pa.table({"question": ["q"], "answer": value}))
            problem = Problem([user("q")], {"answer": answer, "prompt": "q"})
            case = replace(case, stage="rlvr", content=rows, records=[problem] if answer is not None else [])
            case = replace(case, refused_at=" row 1" if answer is None else None)
        yield replace(case, content=gzip.compress(case.content) if file.endswith(".gz") else case.content)


KINDS: dict[str, tuple[Callable[[random.Random], Iterator[Case]], int]] = {
    "rows": (bad_rows, 44),
    "lines": (bad_lines, 18),
    "mixed": (mixed_formats, 6),
    "separated": (separated_files, 8),
    "json": (json_files, 6),
    "archives": (broken_archives, 4),
    "parquet": (parquet_files, 6),
    "good files": (good_files, 4),
    "good rows": (good_rows, 4),
}
"""Each kind, and how many of a hundred cases it makes."""


def cases(kind: str, total: int, seed: int) -> Iterator[Case]:
    """The kind's share of `total` cases."""
    make, share = KINDS[kind]
    rng = random.Random(f"{kind} {seed}")
    made = make(rng)
    for _ in range(total * share // 100):
        yield next(made)
