"""IFBench's `custom:csv_` constraints."""

from __future__ import annotations

import csv
import io
import re

from posttrain.graders.constraints.constraint import Constraint

CITY = ["ID", "Country", "City", "Year", "Count"]
PRODUCT = ["ProductID", "Category", "Brand", "Price", "Stock"]
STUDENT = ["StudentID", "Subject", "Grade", "Semester", "Score"]

# A field in quotation marks, in which "" is one of them.
_QUOTED_FIELD = re.compile(r'(?:^|,)"((?:[^"]|"")*)"')
_QUOTED_CELL = re.compile(r'(?<![^\t\n])[^\S\t\n]*"[^"]*"[^\S\t\n]*(?![^\t\n])')
_SPECIAL = re.compile(r"[^\w\s]")


def csv_city(response: str) -> bool:
    """The response is a comma-separated table with the columns ID, Country, City, Year and Count and seven rows."""
    return _has_shape(_table(response), CITY, rows=7)


def csv_special_character(response: str) -> bool:
    """The response is a table of products with 14 rows; a field in quotation marks has a special character.

    A special character is neither a letter, a digit, an underscore nor white space. Only the rows down to that field
    must have five columns.
    """
    table = _table(response)
    if len(table) != 15 or table[0] != PRODUCT:
        return False
    for row, line in zip(table, response.split("\n"), strict=False):
        if len(row) != len(PRODUCT):
            return False
        if any(_SPECIAL.search(field) for field in _QUOTED_FIELD.findall(line)):
            return True
    return False


def csv_quotes(response: str) -> bool:
    """The response is a tab-separated table of students with three rows, every field in quotation marks."""
    table = _table(response, delimiter="\t")
    return _has_shape(table, STUDENT, rows=3) and len(_QUOTED_CELL.findall(response)) >= 4 * len(STUDENT)


def _table(response: str, delimiter: str = ",") -> list[list[str]]:
    """Return the rows, or none if it is no CSV."""
    try:
        return list(csv.reader(io.StringIO(response), delimiter=delimiter))
    except csv.Error:
        return []


def _has_shape(table: list[list[str]], header: list[str], rows: int) -> bool:
    return len(table) == rows + 1 and table[0] == header and all(len(row) == len(header) for row in table)


CONSTRAINTS = {
    "custom:csv_city": Constraint(csv_city),
    "custom:csv_special_character": Constraint(csv_special_character),
    "custom:csv_quotes": Constraint(csv_quotes),
}
