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
_QUOTED_FIELD = re.compile(r'(?:^|,)"((?:[^"\n]|"")*)"', re.MULTILINE)
_SPECIAL = re.compile(r"[^\w\s]")


def csv_city(response: str) -> bool:
    """The response is a comma-separated table with the columns ID, Country, City, Year and Count, and seven rows."""
    return _is_table(response, CITY, rows=7)


def csv_special_character(response: str) -> bool:
    """The response is the table of products with 14 rows; a field in quotation marks has a special character."""
    special = any(_SPECIAL.search(field) for field in _QUOTED_FIELD.findall(response))
    return special and _is_table(response, PRODUCT, rows=14)


def csv_quotes(response: str) -> bool:
    """The response is the tab-separated table of students with three rows, every field in quotation marks."""
    return _is_table(response, STUDENT, rows=3, delimiter="\t") and all(
        re.fullmatch(r'\s*"(?:[^"]|"")*"\s*', field)
        for line in response.strip().split("\n")
        for field in re.findall(r'(?:[^\t"]|"[^"]*")+', line)
    )


def _is_table(response: str, header: list[str], rows: int, delimiter: str = ",") -> bool:
    try:
        table = list(csv.reader(io.StringIO(response), delimiter=delimiter))
    except csv.Error:
        return False
    return len(table) == rows + 1 and table[0] == header and all(len(row) == len(header) for row in table)


CONSTRAINTS = {
    "custom:csv_city": Constraint(csv_city),
    "custom:csv_special_character": Constraint(csv_special_character),
    "custom:csv_quotes": Constraint(csv_quotes),
}
