"""The 25 constraints of Tülu 3's first instruction data (RLVR-IFeval, 2024), as open-instruct's `if_functions` decide.

Each row names one by `func_name`, with its arguments beside it. They are not IFEval's: counts are exact where IFEval
has "at least", and a keyword is a text, not a regular expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from posttrain.errors import did_you_mean
from posttrain.graders.constraints.arguments import number, position, text, texts
from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.language import detected
from posttrain.graders.grade import BadProblem, shortened

_WORD = re.compile(r"\w+")
_CAPITALS = re.compile(r"\b[A-Z]+\b")
# White space after . ? or !, but not after "e.g." or "Mr.".
_SENTENCE_END = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?|!)\s")


class Function(NamedTuple):
    """A constraint with its arguments: what a response is held to."""

    name: str
    arguments: dict[str, Any]

    def followed(self, response: str) -> bool:
        """Return whether the response keeps the constraint; a blank response keeps none."""
        return bool(response.strip()) and FUNCTIONS[self.name].check(response, **self.arguments)


def function_of_ground_truth(truth: Any) -> Function:
    """Return the constraint of a row's ground truth, ``{"func_name": ..., "N": 3, "quantifier": null}`` or its JSON.

    Raises BadProblem for one that is not known, and for an argument that is missing, too many, or of no use.
    """
    try:
        value = json.loads(truth) if isinstance(truth, str) else truth
    except (ValueError, RecursionError):
        value = None
    name = value.get("func_name") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(name, str):
        raise BadProblem(f'the ground truth must be {{"func_name": ...}}, not {shortened(str(truth))}')
    if name not in FUNCTIONS:
        raise BadProblem(f"no constraint is called '{name}'.{did_you_mean(name, FUNCTIONS)}")
    given = {str(key): argument for key, argument in value.items() if key != "func_name" and argument is not None}
    if set(given) != set(FUNCTIONS[name].required):
        wanted, there = (", ".join(names) or "no argument" for names in (FUNCTIONS[name].required, given))
        raise BadProblem(f"{name} takes {wanted}, and is given {there}")
    try:
        FUNCTIONS[name].check("1", **given)
    except BadProblem as error:
        raise BadProblem(f"{name}: {error}") from None
    return Function(name, given)


def _quantity(count: int, wanted: int, quantifier: Any, tolerance: int) -> bool:
    if quantifier not in ("at least", "at most", "around"):
        raise BadProblem(f"quantifier is {shortened(repr(quantifier))}, not 'at least', 'at most' or 'around'")
    if quantifier == "around":
        return abs(count - wanted) <= tolerance
    return count >= wanted if quantifier == "at least" else count <= wanted


def _a_tenth(wanted: int) -> int:
    return max(round(wanted * 0.1), 1)


def keywords(response: str, *, keyword_list: Any) -> bool:
    """Every keyword is in it, inside words too."""
    return all(keyword.lower() in response.lower() for keyword in texts("keyword_list", keyword_list))


def keyword_frequency(response: str, *, word: Any, N: Any) -> bool:
    """The word stands there exactly N times, as a whole word."""
    return _WORD.findall(response.lower()).count(text("word", word).lower()) == number("N", N)


def forbidden_words(response: str, *, forbidden_words: Any) -> bool:
    """No forbidden word is in it, inside words neither."""
    return not any(word.lower() in response.lower() for word in texts("forbidden_words", forbidden_words))


def letter_frequency(response: str, *, letter: Any, N: Any) -> bool:
    """The letter occurs exactly N times; capitals are other letters."""
    if len(text("letter", letter)) != 1:
        raise BadProblem(f"letter is {letter!r}, not one character")
    return response.count(letter) == number("N", N)


def response_language(response: str, *, language: Any) -> bool:
    """It is in the language, by langdetect."""
    return detected(response) == text("language", language)


def paragraph_count(response: str, *, N: Any) -> bool:
    """There are N paragraphs between dividers ``* * *``, and none is blank."""
    paragraphs = response.split("* * *")
    return all(paragraph.strip() for paragraph in paragraphs) and len(paragraphs) == number("N", N)


def word_count(response: str, *, N: Any, quantifier: Any) -> bool:
    """There are at least, at most or around (a tenth) N words between white space."""
    wanted = number("N", N)
    return _quantity(len(response.split()), wanted, quantifier, _a_tenth(wanted))


def sentence_count(response: str, *, N: Any, quantifier: Any) -> bool:
    """There are at least, at most or around (one) N sentences."""
    return _quantity(len(_SENTENCE_END.split(response)), number("N", N), quantifier, 1)


def first_word_of_paragraph(response: str, *, N: Any, first_word: Any, i: Any) -> bool:
    """Of N paragraphs between blank lines the i-th begins with the text."""
    paragraphs, count, index = response.split("\n\n"), number("N", N), position("i", i)
    if index > count:
        raise BadProblem(f"i is {index}, and there are to be {count} paragraphs")
    wanted = text("first_word", first_word)
    return len(paragraphs) == count and paragraphs[index - 1].strip().startswith(wanted)


def postscript(response: str, *, postscript_marker: Any) -> bool:
    """The marker is in it, and something follows."""
    _, found, after = response.partition(text("postscript_marker", postscript_marker))
    return bool(found and after.strip())


def placeholders(response: str, *, N: Any) -> bool:
    """There are at least N pairs of square brackets, each on one line."""
    return sum(_pairs(line, "[", "]") for line in response.split("\n")) >= number("N", N)


def bullet_points(response: str, *, N: Any) -> bool:
    """There are exactly N lines that begin with * or -."""
    return sum(line.strip().startswith(("*", "-")) for line in response.split("\n")) == number("N", N)


def title(response: str) -> bool:
    """There is a ``<<title>>`` on one line."""
    return any(_pairs(line, "<<", ">>") for line in response.split("\n"))


def choice(response: str, *, options: Any) -> bool:
    """One of the options is in it."""
    return any(option in response for option in texts("options", options))


def highlighted_sections(response: str, *, N: Any) -> bool:
    """There are at least N pairs of asterisks, each on one line."""
    return sum(line.count("*") // 2 for line in response.split("\n")) >= number("N", N)


def sections(response: str, *, N: Any, section_splitter: Any) -> bool:
    """There are N sections, each after a splitter; a text before the first splitter is one too."""
    parts = response.split(text("section_splitter", section_splitter))
    return len(parts) - (parts[0] == "") == number("N", N)


def json_format(response: str) -> bool:
    """All of it is JSON."""
    try:
        json.loads(response)
    except (ValueError, RecursionError):
        return False
    return True


def repeat_prompt(response: str, *, original_prompt: Any) -> bool:
    """It begins with the prompt."""
    return response.startswith(text("original_prompt", original_prompt))


def two_responses(response: str) -> bool:
    """Two different texts stand around one ``******``."""
    parts = [part.strip() for part in response.split("******")]
    return len(parts) == 2 and parts[0] != parts[1]


def frequency_of_capital_words(response: str, *, N: Any, quantifier: Any) -> bool:
    """There are at least, at most or around (a tenth) N words of capitals A to Z."""
    wanted = number("N", N)
    return _quantity(len(_CAPITALS.findall(response)), wanted, quantifier, _a_tenth(wanted))


def end(response: str, *, end_phrase: Any) -> bool:
    """It ends with the phrase."""
    return response.endswith(text("end_phrase", end_phrase))


FUNCTIONS: dict[str, Constraint] = {
    "verify_keywords": Constraint(keywords, ("keyword_list",)),
    "verify_keyword_frequency": Constraint(keyword_frequency, ("word", "N")),
    "validate_forbidden_words": Constraint(forbidden_words, ("forbidden_words",)),
    "verify_letter_frequency": Constraint(letter_frequency, ("letter", "N")),
    "validate_response_language": Constraint(response_language, ("language",)),
    "verify_paragraph_count": Constraint(paragraph_count, ("N",)),
    "validate_word_constraint": Constraint(word_count, ("N", "quantifier")),
    "verify_sentence_constraint": Constraint(sentence_count, ("N", "quantifier")),
    "validate_paragraphs": Constraint(first_word_of_paragraph, ("N", "first_word", "i")),
    "verify_postscript": Constraint(postscript, ("postscript_marker",)),
    "validate_placeholders": Constraint(placeholders, ("N",)),
    "verify_bullet_points": Constraint(bullet_points, ("N",)),
    "validate_title": Constraint(title),
    "validate_choice": Constraint(choice, ("options",)),
    "validate_highlighted_sections": Constraint(highlighted_sections, ("N",)),
    "validate_sections": Constraint(sections, ("N", "section_splitter")),
    "validate_json_format": Constraint(json_format),
    "validate_repeat_prompt": Constraint(repeat_prompt, ("original_prompt",)),
    "validate_two_responses": Constraint(two_responses),
    "validate_uppercase": Constraint(lambda response: response == response.upper()),
    "validate_lowercase": Constraint(lambda response: response == response.lower()),
    "validate_frequency_capital_words": Constraint(frequency_of_capital_words, ("N", "quantifier")),
    "validate_end": Constraint(end, ("end_phrase",)),
    "validate_quotation": Constraint(lambda response: response.startswith('"') and response.endswith('"')),
    "validate_no_commas": Constraint(lambda response: "," not in response),
}


def _pairs(line: str, opening: str, closing: str) -> int:
    """Return how many times an opening is followed by a closing, one pair after the other."""
    pairs, end = 0, 0
    while (start := line.find(opening, end)) >= 0 and (close := line.find(closing, start + len(opening))) >= 0:
        pairs, end = pairs + 1, close + len(closing)
    return pairs
