"""IFBench's `custom:` constraints: each is one question with one kind of answer."""

from __future__ import annotations

import re
import string
import unicodedata
from itertools import pairwise

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.language import bare_words, sentences

QUESTIONS = 4
OPTIONS = 5
COUNTRY_LINES = 52

# As IFBench has them, from north to south: its list has neither Kyiv nor Belgrade.
CAPITALS = [
    *("Reykjavik", "Helsinki", "Oslo", "Tallinn", "Stockholm", "Riga", "Moscow", "Copenhagen", "Vilnius", "Minsk"),
    *("Dublin", "Berlin", "Amsterdam", "Warsaw", "London", "Brussels", "Prague", "Luxembourg", "Paris", "Vienna"),
    *("Bratislava", "Budapest", "Vaduz", "Chisinau", "Bern", "Ljubljana", "Zagreb"),
]

NAPOLEON = range(1769, 1822)
"""The years of his life."""

_MULTIPLES_OF_SEVEN = ["14", "21", "28", "35", "42", "49"]
_QUESTION = re.compile(r"Question \d+")
_OPTION = re.compile(r"^[^\S\n]*[A-E][.)][^\S\n]*\w", re.IGNORECASE | re.MULTILINE)
_EDGES = string.punctuation + string.whitespace
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_LONGEST_MONTH_DAYS = (99, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def multiples(response: str) -> bool:
    """The numbers in the response are 14, 21, 28, 35, 42 and 49, in this order."""
    return re.findall(r"\d+", response) == _MULTIPLES_OF_SEVEN


def mcq_count_length(response: str) -> bool:
    """Four texts labelled "Question 1" and so on, each longer than the last, with five lettered options each."""
    before, *questions = _QUESTION.split(response)
    questions = [question.strip() for question in questions if question.strip()]
    if before or len(questions) != QUESTIONS:
        return False
    options = [list(_OPTION.finditer(question)) for question in questions]
    if any(len(found) != OPTIONS for found in options):
        return False
    lengths = [len(question[: found[0].start()].strip()) for question, found in zip(questions, options, strict=True)]
    return all(before < after for before, after in pairwise(lengths))


def reverse_newline(response: str) -> bool:
    """From the first line with "Zimbabwe" on there are at least 52 lines, in reverse alphabetical order."""
    lines = [line.strip(_EDGES) for line in _ascii(response).split("\n")]
    lines = [line for line in lines if line]
    start = next((place for place, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    listed = lines[start:]
    return len(listed) >= COUNTRY_LINES and listed == sorted(listed, reverse=True)


def word_reverse(response: str) -> bool:
    """The response, its words reversed, has "bald eagle" in it."""
    return "bald eagle" in " ".join(reversed(bare_words(response)))


def character_reverse(response: str) -> bool:
    """The response has "bald eagle" in it, its letters reversed."""
    return "bald eagle"[::-1] in response.lower()


def sentence_alphabet(response: str) -> bool:
    """The response has 26 sentences, which begin with the letters from a to z."""
    return [sentence[0].lower() for sentence in sentences(response)] == list(string.ascii_lowercase)


def european_capitals_sort(response: str) -> bool:
    """The response is IFBench's list of 27 capitals, separated by commas, accents aside."""
    names = _ascii(response).split(",")
    return [name.strip() for name in names if name.strip()] == CAPITALS


def date_format_list(response: str) -> bool:
    """The response is a list of dates of Napoleon's lifetime as YYYY-MM-DD, separated by commas."""
    return all(_is_date(date.strip()) for date in response.strip().split(","))


def _ascii(text: str) -> str:
    """Return the text without accents, and without anything else that is not ASCII."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _is_date(text: str) -> bool:
    """Say whether the text is a date in some year of Napoleon's; IFBench lets month and day 00 pass."""
    match = _DATE.fullmatch(text)
    if not match:
        return False
    year, month, day = map(int, match.groups())
    return year in NAPOLEON and month < len(_LONGEST_MONTH_DAYS) and day <= _LONGEST_MONTH_DAYS[month]


CONSTRAINTS = {
    "custom:multiples": Constraint(multiples),
    "custom:mcq_count_length": Constraint(mcq_count_length),
    "custom:reverse_newline": Constraint(reverse_newline),
    "custom:word_reverse": Constraint(word_reverse),
    "custom:character_reverse": Constraint(character_reverse),
    "custom:sentence_alphabet": Constraint(sentence_alphabet),
    "custom:european_capitals_sort": Constraint(european_capitals_sort),
    "custom:date_format_list": Constraint(date_format_list),
}
