"""The 25 constraints of IFEval (Zhou et al., 2023, arXiv 2311.07911), as its published checker decides them.

The one exception is a letter outside a to z, for which the checker draws a random one: here it is counted as it
stands (the prompts with the keys 1122 and 1129).
"""

from __future__ import annotations

import json
import re
from typing import Any

from posttrain.graders.constraints.arguments import holds, number, pattern, position, text, texts
from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.language import codes, detected
from posttrain.graders.constraints.tokens import sentences, words
from posttrain.graders.grade import BadProblem

CONSTRAINED_RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")

_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-.*$", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*([^\n*]*)\*")
_BOLD_HIGHLIGHT = re.compile(r"\*\*([^\n*]*)\*\*")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
_FENCES = ("```json", "```Json", "```JSON", "```")
_WORD_ENDS = re.compile(r"""[.,?!'"]""")


# Keywords


def existence(response: str, *, keywords: Any) -> bool:
    """Every keyword is found: "rain" in "training" too."""
    wanted = [pattern("keywords", keyword) for keyword in texts("keywords", keywords)]
    return all(keyword.search(response) for keyword in wanted)


def keyword_frequency(response: str, *, keyword: Any, frequency: Any, relation: Any) -> bool:
    """The keyword is found so many times: "rain" in "training" too."""
    found = pattern("keyword", keyword).findall(response)
    return holds(len(found), relation, number("frequency", frequency))


def forbidden_words(response: str, *, forbidden_words: Any) -> bool:
    """No forbidden word is found as a whole word."""
    unwanted = [pattern("forbidden_words", word, r"\b", r"\b") for word in texts("forbidden_words", forbidden_words)]
    return not any(word.search(response) for word in unwanted)


def letter_frequency(response: str, *, letter: Any, let_frequency: Any, let_relation: Any) -> bool:
    """The letter occurs so many times, ignoring case."""
    if len(text("letter", letter)) != 1:
        raise BadProblem(f"letter is {letter!r}, not one character")
    count = response.lower().count(letter.lower())
    return holds(count, let_relation, number("let_frequency", let_frequency), "let_relation")


# Language and case


def response_language(response: str, *, language: Any) -> bool:
    """The response is in the language, by langdetect, or in none that can be told, such as digits only."""
    if text("language", language) not in codes():
        raise BadProblem(f"language is '{language}', which cannot be told (these can: {' '.join(sorted(codes()))})")
    return detected(response) in (language, None)


def english_capital(response: str) -> bool:
    """The response has letters, all of them capital, and is English, by langdetect."""
    return response.isupper() and detected(response) in ("en", None)


def english_lowercase(response: str) -> bool:
    """The response has letters, none of them capital, and is English, by langdetect."""
    return response.islower() and detected(response) in ("en", None)


def capital_word_frequency(response: str, *, capital_frequency: Any, capital_relation: Any) -> bool:
    """So many words are all capitals, such as "A" and "U.S."; words are the tokens of NLTK's word_tokenize."""
    count = sum(word.isupper() for word in words(response))
    return holds(count, capital_relation, number("capital_frequency", capital_frequency), "capital_relation")


# Length


def number_words(response: str, *, num_words: Any, relation: Any) -> bool:
    r"""There are so many words, counted as ``\w+``: "don't" is two."""
    return holds(len(re.findall(r"\w+", response)), relation, number("num_words", num_words))


def number_sentences(response: str, *, num_sentences: Any, relation: Any) -> bool:
    """There are so many sentences, as NLTK's Punkt tokenizer for English splits them."""
    return holds(len(sentences(response)), relation, number("num_sentences", num_sentences))


def number_paragraphs(response: str, *, num_paragraphs: Any) -> bool:
    """There are exactly so many paragraphs between dividers ``***``, none of them blank but before and after all."""
    return filled(response.split("***")) == number("num_paragraphs", num_paragraphs)


def nth_paragraph_first_word(response: str, *, num_paragraphs: Any, nth_paragraph: Any, first_word: Any) -> bool:
    """Of exactly so many paragraphs between blank lines the n-th begins with the word, ignoring case.

    Blank paragraphs are not counted, but the n-th is found among all of them, as the checker does it.
    """
    paragraphs = response.split("\n\n")
    nth = position("nth_paragraph", nth_paragraph)
    wanted = text("first_word", first_word).lower()
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if count != number("num_paragraphs", num_paragraphs) or nth > count or not paragraphs[nth - 1].strip():
        return False
    word = paragraphs[nth - 1].split()[0].lstrip("'").lstrip('"')
    return _WORD_ENDS.split(word)[0].lower() == wanted


# Content and format


def number_placeholders(response: str, *, num_placeholders: Any) -> bool:
    """There are at least so many placeholders like ``[address]``, each on one line."""
    before_closings = [text for line in response.split("\n") for text in line.split("]")[:-1]]
    return sum("[" in text for text in before_closings) >= number("num_placeholders", num_placeholders)


def postscript(response: str, *, postscript_marker: Any) -> bool:
    """The marker is somewhere, ignoring case; ``P.S.`` and ``P.P.S`` may have spaces in them."""
    marker = text("postscript_marker", postscript_marker)
    return re.search(_POSTSCRIPTS.get(marker) or marker.lower(), response.lower()) is not None


def number_bullet_lists(response: str, *, num_bullets: Any) -> bool:
    """There are exactly so many lines that begin with ``-``, or with ``*`` and no second star."""
    count = len(_STAR_BULLET.findall(response)) + len(_DASH_BULLET.findall(response))
    return count == number("num_bullets", num_bullets)


def constrained_response(response: str) -> bool:
    """One of the three answers is somewhere in the response, word for word."""
    return any(answer in response for answer in CONSTRAINED_RESPONSES)


def number_highlighted_sections(response: str, *, num_highlights: Any) -> bool:
    """There are at least so many highlights ``*so*`` or ``**so**``, none of them blank."""
    spans = (*_HIGHLIGHT.findall(response), *_BOLD_HIGHLIGHT.findall(response))
    return sum(bool(span.strip()) for span in spans) >= number("num_highlights", num_highlights)


def multiple_sections(response: str, *, section_spliter: Any, num_sections: Any) -> bool:
    """There are at least so many marks such as ``Section 1``; `section_spliter` is the word, and its case counts."""
    marks = re.findall(rf"{text('section_spliter', section_spliter)}\s?\d+", response)
    return len(marks) >= number("num_sections", num_sections)


def json_format(response: str) -> bool:
    """The whole response is JSON, perhaps between Markdown fences."""
    body = response.strip()
    for fence in _FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(response: str) -> bool:
    """A line holds a title like ``<<poem of joy>>`` that is not blank."""
    for line in response.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


# Combinations, start and end, punctuation


def two_responses(response: str) -> bool:
    """There are two different responses between dividers ``******``, and no blank one between two dividers."""
    responses = response.split("******")
    return filled(responses) == 2 and len({one.strip() for one in responses if one.strip()}) == 2


def repeat_prompt(response: str, *, prompt_to_repeat: Any) -> bool:
    """The response begins with the request, ignoring case."""
    return response.strip().lower().startswith(text("prompt_to_repeat", prompt_to_repeat).strip().lower())


def end_checker(response: str, *, end_phrase: Any) -> bool:
    """The response ends with the phrase, ignoring case and quotation marks after it."""
    return response.strip().strip('"').lower().endswith(text("end_phrase", end_phrase).strip().lower())


def quotation(response: str) -> bool:
    """The response begins and ends with a double quotation mark."""
    body = response.strip()
    return len(body) > 1 and body[0] == body[-1] == '"'


def no_comma(response: str) -> bool:
    """There is no comma."""
    return "," not in response


def filled(parts: list[str]) -> int:
    """Return how many of the parts are not blank, the first and the last aside; -1 if one between them is."""
    blank = [not part.strip() for part in parts]
    return -1 if any(blank[1:-1]) else len(parts) - sum(blank)


CONSTRAINTS: dict[str, Constraint] = {
    "keywords:existence": Constraint(existence, ("keywords",)),
    "keywords:frequency": Constraint(keyword_frequency, ("keyword", "frequency", "relation")),
    "keywords:forbidden_words": Constraint(forbidden_words, ("forbidden_words",)),
    "keywords:letter_frequency": Constraint(letter_frequency, ("letter", "let_frequency", "let_relation")),
    "language:response_language": Constraint(response_language, ("language",)),
    "length_constraints:number_sentences": Constraint(number_sentences, ("num_sentences", "relation")),
    "length_constraints:number_paragraphs": Constraint(number_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": Constraint(number_words, ("num_words", "relation")),
    "length_constraints:nth_paragraph_first_word": Constraint(
        nth_paragraph_first_word, ("num_paragraphs", "nth_paragraph", "first_word")
    ),
    "detectable_content:number_placeholders": Constraint(number_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": Constraint(postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": Constraint(number_bullet_lists, ("num_bullets",)),
    "detectable_format:constrained_response": Constraint(constrained_response),
    "detectable_format:number_highlighted_sections": Constraint(number_highlighted_sections, ("num_highlights",)),
    "detectable_format:multiple_sections": Constraint(multiple_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": Constraint(json_format),
    "detectable_format:title": Constraint(title),
    "combination:two_responses": Constraint(two_responses),
    "combination:repeat_prompt": Constraint(repeat_prompt, ("prompt_to_repeat",)),
    "startend:end_checker": Constraint(end_checker, ("end_phrase",)),
    "startend:quotation": Constraint(quotation),
    "change_case:capital_word_frequency": Constraint(capital_word_frequency, ("capital_frequency", "capital_relation")),
    "change_case:english_capital": Constraint(english_capital),
    "change_case:english_lowercase": Constraint(english_lowercase),
    "punctuation:no_comma": Constraint(no_comma),
}
