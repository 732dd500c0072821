"""YAML 1.2's scalars, and the line of everything."""

from __future__ import annotations

import math
import random

import pytest

from posttrain.errors import UserError
from posttrain.recipe.yaml_lines import dotted, dump_yaml, read_json, read_yaml, undotted

SCALARS = [
    ("1e-5", 1e-5),
    ("1E-5", 1e-5),
    ("1.5e3", 1500.0),
    ("1e3", 1000),
    ("-2e0", -2),
    (".5", 0.5),
    ("1.", 1.0),
    ("+3", 3),
    ("007", 7),
    ("0x1F", 31),
    ("0o17", 15),
    ("-.inf", -math.inf),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("on", "on"),
    ("off", "off"),
    ("yes", "yes"),
    ("No", "No"),
    ("y", "y"),
    ("1_000", "1_000"),
    ("12:30", "12:30"),
    ("2026-01-01", "2026-01-01"),
    ("'1e-5'", "1e-5"),
    ('"true"', "true"),
    ("1e", "1e"),
    ("e5", "e5"),
    ("1.2.3", "1.2.3"),
    ("=", "="),
    ("pass@1", "pass@1"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = read_yaml(f"key: {text}", "a.yaml").data["key"]
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(read_yaml(".nan", "a.yaml").data)


def test_keys_are_text():
    data = read_yaml("on: 1\n2: b\nnull: c\ntrue: d", "a.yaml").data
    assert data == {"on": 1, "2": "b", "null": "c", "true": "d"}


def test_every_key_and_entry_has_its_line():
    text = """\
# a comment
stage: sft
data:
  train:
    - path: a
      limit: 3
    -
      path: b
eval: {k: [1,
  8]}
"""
    lines = {dotted(loc): line for loc, line in read_yaml(text, "a.yaml").lines.items()}
    assert lines == {
        "stage": 2,
        "data": 3,
        "data.train": 4,
        "data.train[0]": 5,
        "data.train[0].path": 5,
        "data.train[0].limit": 6,
        "data.train[1]": 8,
        "data.train[1].path": 8,
        "eval": 9,
        "eval.k": 9,
        "eval.k[0]": 9,
        "eval.k[1]": 10,
    }


def test_dotted_keys_go_there_and_back():
    assert undotted("data.train[0].path") == undotted("data.train.0.path") == ("data", "train", 0, "path")
    assert dotted(("data", "train", 0, "path")) == "data.train[0].path"


def test_duplicate_keys_are_all_found_and_the_first_value_stays():
    document = read_yaml("a: 1\nb: {c: 2,\n  c: 3}\na: 4\n", "a.yaml")
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.duplicates == [(("b", "c"), 3, 2), (("a",), 4, 1)]


SYNTAX_ERRORS = [
    ("a: b: c", "1: not valid YAML: mapping values are not allowed here\n  1 | a: b: c\n    |     ^"),
    ("a:\n\tb: 1", "2: not valid YAML: a tab cannot indent YAML: use spaces\n  2 |  b: 1\n    | ^"),
    ("a: [1", "1: not valid YAML: expected ',' or ']', but got '<stream end>'\n  1 | a: [1\n    |      ^"),
    (
        "a: &x 1\nb: *x",
        "2: not valid YAML: aliases (*name) are not read: write the value out\n  2 | b: *x\n    |    ^",
    ),
    (
        "a: !!python/name:x y",
        "1: not valid YAML: tags (!name) are not read\n  1 | a: !!python/name:x y\n    |    ^",
    ),
    ("a: 1\n---\nb: 2", "2: not valid YAML: but found another document\n  2 | ---\n    | ^"),
    ("[a]: 1", "1: not valid YAML: a key must be plain text\n  1 | [a]: 1\n    | ^"),
    ("a: 'x", "1: not valid YAML: found unexpected end of stream\n  1 | a: 'x\n    |      ^"),
]


@pytest.mark.parametrize(("text", "message"), SYNTAX_ERRORS)
def test_a_syntax_error_is_one_message_with_its_line(text, message):
    with pytest.raises(UserError) as error:
        read_yaml(text, "a.yaml")
    assert str(error.value) == f"a.yaml:{message}"


@pytest.mark.parametrize("text", ["a: \x00b", "[" * 5000])
def test_what_is_no_text_at_all_is_a_user_error(text):
    with pytest.raises(UserError, match=r"a\.yaml"):
        read_yaml(text, "a.yaml")


def test_what_is_dumped_is_read_back():
    data = {
        "texts": [
            "1e-5",
            "on",
            "true",
            "null",
            "",
            "0x1F",
            "007",
            "~",
            "2026-01-01",
            "a: b",
            "# c",
            "a\nb",
            " é",
            "1_0",
            ".5",
        ],
        "numbers": [1e-5, 1e22, 1000, -0.0, 1.0, 2**63],
        "others": [True, None, [], {}, {"on": {"1": 2}}],
    }
    again = read_yaml(dump_yaml(data), "a.yaml").data
    assert again == data
    assert [type(value) for value in again["texts"]] == [str] * 15


def test_text_of_any_kind_is_read_back():
    """Line ends that YAML folds, marks of its own, and much between them."""
    pieces = [
        "a",
        " ",
        "\n",
        "\n\n",
        "\t",
        ": ",
        "#",
        "- ",
        '"',
        "'",
        "é",
        "\u2028",
        "\x85",
        "\r",
        "|",
        "🙂",
        "---",
        "b " * 60,
    ]
    chance = random.Random(1)
    for _ in range(500):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 6)))
        data = {"a": [{"b": text, "c": [text]}], text: text}
        assert read_yaml(dump_yaml(data), "a.yaml").data == data
    assert dump_yaml({"source": "def grade():\n    return 1\n"}) == "source: |\n  def grade():\n      return 1\n"


def test_json_has_its_lines_too():
    document = read_json('{"a": [1,\n\t"\\ud83d\\ude42"]}', "a.json")
    assert document.data == {"a": [1, "🙂"]}
    assert document.lines == {("a",): 1, ("a", 0): 1, ("a", 1): 2}
    for text, message in (('{"a": 1,}', "a.json:1: not valid JSON"), ("[" * 100_000, "nested too deeply")):
        with pytest.raises(UserError, match=message):
            read_json(text, "a.json")
