"""Raw rows from text: lines of JSONL, JSON, and columns that a comma or a tab separates."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from posttrain.data.json_text import parse_json
from posttrain.errors import UserError

Placed = tuple[Any, str]

BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")

_RESAVE = "It looks like UTF-16. Save the file as UTF-8."


def parse_line(line: bytes, place: str) -> Any:
    """The JSON value in a line of JSONL. Raises UserError at `place`."""
    return _parse_json(_decode(line, place).rstrip(), place)


def read_json(file: BinaryIO, name: str) -> Iterator[Placed]:
    """A list of rows, or an object that holds it under ``data``; JSONL in a .json file is read as that."""
    data = file.read().removeprefix(BOM)
    if not data.strip():
        return
    text = _decode(data, name)
    try:
        rows = _parse_json(text, name)
    except UserError:
        if not _first_line_is_json(text):
            raise
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                yield _or_error(parse_line, line, f"{name}:{number}"), f"{name}:{number}"
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
        return len(lines) > 1 and isinstance(parse_json(lines[0]), dict)
    except ValueError:
        return False


def read_separated(delimiter: str) -> Callable[[BinaryIO, str], Iterator[Placed]]:
    """A reader of rows whose fields are separated by `delimiter` and named by the first line.

    Where a quote is not closed nobody knows where the next row begins: that is an error of the whole file.
    """

    def read(file: BinaryIO, name: str) -> Iterator[Placed]:
        csv.field_size_limit(2**31 - 1)  # the default refuses fields above 128 KiB
        lines = csv.reader(_text_lines(file), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        start = 1
        try:
            for fields in lines:
                place, start = f"{name}:{start}", lines.line_num + 1
                if len(fields) < 2 and not "".join(fields).strip():  # a blank line
                    continue
                if header is None:
                    header = _header(fields, place)
                    continue
                yield _or_error(_separated_row, header, fields, place), place
        except csv.Error as error:
            fix = _RESAVE if "NUL" in str(error) else "A field with a quote in it needs quotes around, and two inside."
            said = str(error).replace("\t", "a tab")
            raise UserError(f"not valid CSV: {said}", where=f"{name}:{start}", fix=fix) from error

    return read


def _or_error(read: Callable[..., Any], *given: Any) -> Any:
    """What `read` returns, or the UserError that it raises: whoever takes the row says what becomes of it."""
    try:
        return read(*given)
    except UserError as error:
        return error


def _separated_row(header: list[str], fields: list[str], place: str) -> dict[str, str]:
    if len(fields) != len(header):
        raise UserError(
            f"{len(fields)} fields where the header has {len(header)}",
            where=place,
            fix="A field that contains the separator or a line break needs quotes.",
        )
    _check_text(fields, place)
    if [field.strip().removeprefix("\ufeff") for field in fields] == header:
        raise UserError("the header once more", where=place, fix="Take it out: files were joined with their headers.")
    if fields[0].startswith("\ufeff"):
        raise UserError("a byte order mark before the row", where=place, fix="Take it out, as where files were joined.")
    return dict(zip(header, fields, strict=True))


def _check_text(fields: list[str], place: str) -> None:
    """Raises UserError at `place` for bytes that were no UTF-8, and for NULs."""
    text = "".join(fields)
    if "\0" in text:
        raise UserError("a NUL byte", where=place, fix=_RESAVE)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        raise UserError(f"not UTF-8 text: byte {byte:#04x}", where=place, fix="Save the file as UTF-8.") from error


def _header(fields: list[str], place: str) -> list[str]:
    _check_text(fields, place)
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        problem = f"the column {twice[0]!r} appears twice" if twice and twice[0] else "a column has no name"
        raise UserError(problem, where=place, fix="The first line names each column, once.")
    return names


def _text_lines(file: BinaryIO) -> Iterator[str]:
    """The lines; bytes that are no UTF-8 as half characters, which `_check_text` finds in their row."""
    for number, raw in enumerate(file, 1):
        yield (raw.removeprefix(BOM) if number == 1 else raw).decode("utf-8", "surrogateescape")


def _decode(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 text: byte {error.object[error.start]:#04x} at column {error.start + 1}",
            where=place,
            fix="Save the file as UTF-8." if raw[:2] not in UTF_16 else _RESAVE,
        ) from error


def _parse_json(text: str, place: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"not valid JSON: {error}", where=place, fix=_why_not(text)) from error


def _why_not(text: str) -> str | None:
    """What to do about text that is no JSON, where it shows."""
    if "\0" in text:
        return _RESAVE
    if text.startswith("\ufeff"):
        return "A byte order mark, as files have that were joined: take it out."
    return None
