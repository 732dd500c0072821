"""Raw rows from text: lines of JSONL, JSON, and columns that a comma or a tab separates."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from posttrain.errors import UserError

Placed = tuple[Any, str]

BOM = b"\xef\xbb\xbf"


def parse_line(line: bytes, place: str) -> Any:
    """The JSON value in a line of JSONL. Raises UserError at `place`."""
    return _parse_json(_decode(line, place).rstrip(), place)


def read_json(file: BinaryIO, name: str) -> Iterator[Placed]:
    """A list of rows, or an object that holds it under ``data``; JSONL in a .json file is read as that."""
    data = file.read()
    if not data.strip():
        return
    text = _decode(data.removeprefix(BOM), name)
    try:
        rows = _parse_json(text, name)
    except UserError:
        if not _first_line_is_json(text):
            raise
        for number, line in enumerate(data.removeprefix(BOM).split(b"\n"), 1):
            if line.strip():
                yield parse_line(line, f"{name}:{number}"), f"{name}:{number}"
        return
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    elif isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list):
        raise UserError('expected a list of rows, or {"data": [rows]}', where=name)
    for number, row in enumerate(rows, 1):
        yield row, f"{name} row {number}"


def _first_line_is_json(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        return len(lines) > 1 and isinstance(json.loads(lines[0]), dict)
    except ValueError:
        return False


def read_separated(delimiter: str) -> Callable[[BinaryIO, str], Iterator[Placed]]:
    """A reader of rows whose fields are separated by `delimiter` and named by the first line."""

    def read(file: BinaryIO, name: str) -> Iterator[Placed]:
        csv.field_size_limit(2**31 - 1)  # the default refuses fields above 128 KiB
        lines = csv.reader(_text_lines(file, name), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        start = 1
        try:
            for fields in lines:
                place, start = f"{name}:{start}", lines.line_num + 1
                if not fields:  # a blank line
                    continue
                if header is None:
                    header = _header(fields, place)
                    continue
                if len(fields) != len(header):
                    raise UserError(
                        f"{len(fields)} fields where the header has {len(header)}",
                        where=place,
                        fix="A field that contains the separator or a line break needs quotes.",
                    )
                yield dict(zip(header, fields, strict=True)), place
        except csv.Error as error:
            raise UserError(f"not valid CSV: {error}", where=f"{name}:{start}") from error

    return read


def _header(fields: list[str], place: str) -> list[str]:
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        problem = f"the column {twice[0]!r} appears twice" if twice and twice[0] else "a column has no name"
        raise UserError(problem, where=place, fix="The first line names each column, once.")
    return names


def _text_lines(file: BinaryIO, name: str) -> Iterator[str]:
    for number, raw in enumerate(file, 1):
        yield _decode(raw.removeprefix(BOM) if number == 1 else raw, f"{name}:{number}")


def _decode(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 text: byte {error.object[error.start]:#04x} at column {error.start + 1}",
            where=place,
            fix="Save the file as UTF-8.",
        ) from error


def _parse_json(text: str, place: str) -> Any:
    try:
        value = _decoder.decode(text)
        if "\\u" in text:  # an escaped half of a surrogate pair is no text that a tokenizer can read
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if "\n" in text.strip() else ""
        raise UserError(
            f"not valid JSON: {error.msg.removesuffix(' at')} at {line}column {error.colno}", where=place
        ) from error
    except UnicodeEncodeError as error:
        raise UserError("not valid JSON: an escape \\ud800-\\udfff without its other half", where=place) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid JSON: {error}", where=place) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number; write null, or leave the key out")


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
