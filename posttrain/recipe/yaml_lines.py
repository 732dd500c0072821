"""Strict YAML that remembers where everything stands.

YAML 1.2's core scalars, so that `1e-5` is a number and `on`, `yes` and `2026-01-01` are text; a key given
twice is an error; keys are always text; anchors, aliases, tags and several documents are not read. How long a text,
how many values, how deep and how large a number is bounded, so that no file takes more than a moment or much memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from posttrain.errors import UserError

Loc = tuple[str | int, ...]  # the way to a value: ("data", "train", 0, "path")

_MOST_CHARACTERS = 500_000
_MOST_VALUES = 15_000
_DEEPEST = 40
_MOST_BITS = 64  # of a whole number
_SNIPPET = 100  # characters of a line that a message shows

_TAG = "tag:yaml.org,2002:"
_CORE_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; refuses what makes a file mean more than it says."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  PyYAML's own attribute

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._values, self._depth = self._values + 1, self._depth + 1
        event = self.peek_event()
        if self._depth > _DEEPEST:
            raise _problem("nested too deeply", event)
        if self._values > _MOST_VALUES:
            raise _problem(f"more than {_MOST_VALUES:,} keys and values", event)
        if isinstance(event, yaml.AliasEvent):
            raise _problem("aliases (*name) are not read: write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _problem("tags (!name) are not read", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back as the same value: the text "1e-5" gets its quotes."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  PyYAML's own attribute

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _CORE_SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), _first)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Write text of several lines as it stands, where YAML can, and with escapes where it would lose a line end."""
    escaped = re.search(r"[\r\x85\u2028\u2029]", text)
    style = '"' if escaped else "|" if "\n" in text and not text[0].isspace() else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return dumper.represent_scalar(_TAG + "float", special.get(repr(value), repr(value)))


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_text)


def _integer(text: str) -> int:
    # The length first: Python takes quadratic time for long numbers, and refuses the longest.
    value = None if len(text) > _MOST_BITS + 2 else int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if value is None or value.bit_length() > _MOST_BITS:
        raise ValueError("a whole number of more than 64 bits")
    return value


def _text(text: str) -> str:
    if not text.isascii():  # JSON writes a character beyond the first plane as two halves
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if found := re.search(r"[\0\ud800-\udfff]", text):
        raise ValueError(f"the character \\u{ord(found[0]):04x} is not read")
    return text


def _number(text: str) -> float | int:
    """`1e3` is 1000 where a whole number is asked for; every place that takes a float takes an int."""
    if text.lstrip("-+").lower() in (".inf", ".nan"):
        return float(text.replace(".", "", 1))
    value = float(text)
    return int(value) if "." not in text and abs(value) < 2**53 and value.is_integer() else value


_READ: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": _number,
    "str": _text,
}


@dataclass
class Document:
    """A parsed file: plain `data`, the line (from 1) of every key and list entry, and the duplicate keys."""

    data: Any
    lines: dict[Loc, int] = field(default_factory=dict)
    duplicates: list[tuple[Loc, int, int]] = field(default_factory=list)  # place, its line, the first one's line


def dotted(loc: Loc) -> str:
    """Return ``data.train[0].path`` for ``("data", "train", 0, "path")``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def undotted(key: str) -> Loc:
    """Return the way that a dotted key names; `a.0` and `a[0]` are the same list entry."""
    parts = re.sub(r"\[(\d+)\]", r".\1", key).split(".")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def read_yaml(text: str, name: str) -> Document:
    """Parse one YAML document; `name` is the file's name in errors. Raises UserError where it is not YAML."""
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"longer than {_MOST_CHARACTERS:,} characters", where=name)
    document = Document(None)
    try:
        node = _Loader(text).get_single_node()
        document.data = _construct(node, (), document)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, name) from None
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {' '.join(str(error).split())}", where=name) from None
    except RecursionError:
        raise UserError("nested too deeply", where=name) from None
    return document


def read_json(text: str, name: str) -> Document:
    """Parse JSON with the lines that `read_yaml` finds in it; raises UserError where it is not JSON."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{name}:{error.lineno}"
        fix = _snippet(text, error.lineno - 1, error.colno - 1)
        raise UserError(f"not valid JSON: {error.msg}", where=where, fix=fix) from None
    except (RecursionError, ValueError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        raise UserError(why, where=name) from None
    try:
        # JSON is YAML but for tabs between its tokens, and for text outside Unicode's first plane, in two escapes.
        document = read_yaml(text.replace("\t", "  "), name)
    except UserError:
        document = Document(data)
    document.data = data
    return document


def dump_yaml(data: Any) -> str:
    """Return YAML that `read_yaml` reads back as the same data, keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _construct(node: yaml.Node | None, loc: Loc, document: Document) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(node, loc, document)
    if isinstance(node, yaml.SequenceNode):
        entries: list[tuple[Loc, yaml.Node]] = [((*loc, index), item) for index, item in enumerate(node.value)]
        document.lines.update((here, item.start_mark.line + 1) for here, item in entries)
        return [_construct(item, here, document) for here, item in entries]
    if isinstance(node, yaml.ScalarNode):
        return _read(node, node.tag.removeprefix(_TAG))
    return None  # an empty document


def _read(node: yaml.ScalarNode, kind: str) -> Any:
    try:
        return _READ[kind](node.value)
    except ValueError as error:
        raise _problem(str(error), node) from None


def _construct_mapping(node: yaml.MappingNode, loc: Loc, document: Document) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _problem("a key must be plain text", key_node)
        key, line = _read(key_node, "str"), key_node.start_mark.line + 1
        here: Loc = (*loc, key)
        if key in mapping:
            document.duplicates.append((here, line, document.lines[here]))
            continue
        document.lines[here] = line
        mapping[key] = _construct(value_node, here, document)
    return mapping


def _problem(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, name: str) -> UserError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        problem = "a tab cannot indent YAML: use spaces"
    if mark is None:
        return UserError(f"not valid YAML: {problem}", where=name)
    where = f"{name}:{mark.line + 1}"
    return UserError(f"not valid YAML: {problem}", where=where, fix=_snippet(text, mark.line, mark.column))


def _snippet(text: str, line: int, column: int) -> str | None:
    """Return the line and a caret below the column, or None beyond the text."""
    lines = text.splitlines()
    if line >= len(lines):
        return None
    number = str(line + 1)
    source = lines[line].replace("\t", " ")
    if len(source) > _SNIPPET:
        start = max(0, min(column - _SNIPPET // 2, len(source) - _SNIPPET))
        source, column = source[start : start + _SNIPPET], column - start
    return f"{number} | {source}\n  {' ' * len(number)} | {' ' * column}^"
