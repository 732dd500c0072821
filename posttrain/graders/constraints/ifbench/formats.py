"""IFBench's `format:` constraints on lines, lists and the whole of a response."""

from __future__ import annotations

import re
from itertools import pairwise

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.arguments import some_text
from posttrain.graders.constraints.ifbench.language import (
    PUNCTUATION,
    module,
    sentences,
    tokens,
    without_punctuation,
)

LIST_ITEMS = 2
INTRODUCTION_SENTENCES = 2
TEMPLATE_LABELS = ("My Answer:", "My Conclusion:", "Future Outlook:")

_LETTERED = re.compile(r"\W*a\W*b\W*c\W*", re.IGNORECASE)


def options(response: str, options: object) -> bool:
    """The response is one of the options, which are set apart by "/", "or" or commas.

    Case and the punctuation around it do not matter, but for lettered options such as "a), b), c)".
    """
    listed = some_text(options, "options")
    if _LETTERED.match(listed):
        return response in [option.strip() for option in listed.split(",")]
    edges = PUNCTUATION + " "
    separator = "/" if "/" in listed else r"\bor\b" if re.search(r"\bor\b", listed) else ","
    given = response.strip(edges).lower()
    return given in [option.strip(edges).lower() for option in re.split(separator, listed)]


def newline(response: str) -> bool:
    """The response has as many words as it has lines, empty ones and those of punctuation only aside.

    Counted over the whole response: two words on a line pass where another line has only spaces.
    """
    text = without_punctuation(response).strip()
    return len(text.split()) == sum(bool(line) for line in text.split("\n"))


def emoji(response: str) -> bool:
    """Every sentence ends in an emoji, punctuation aside, or is followed by one."""
    is_emoji = module("emoji").is_emoji
    ends = [without_punctuation(sentence).strip() for sentence in sentences(response)]
    # The last but one character too, since some emoji end in a variation selector.
    return all(
        any(map(is_emoji, end[-2:])) or (end and is_emoji(follower[:1]))
        for end, follower in zip(ends, [*ends[1:], ""], strict=False)
    )


def line_indent(response: str) -> bool:
    """Each line is indented by more spaces than the one before it.

    One blank line is passed over. Of several in a row every second one counts, to IFBench, as a line.
    """
    indents: list[int] = []
    blanks = 0
    for line in response.split("\n"):
        blanks = 0 if line.strip() else blanks + 1
        if blanks % 2 == 0:
            indents.append(len(line) - len(line.lstrip(" ")))
    return all(before < after for before, after in pairwise(indents))


def list_(response: str, sep: object) -> bool:
    """The response has the separator `sep` at least twice, anywhere."""
    return response.count(some_text(sep, "sep")) >= LIST_ITEMS


def thesis(response: str) -> bool:
    """There is a text in `<i>` or `<em>`, and some other text after it.

    IFBench takes `<em>` for as long as `<i>`: an empty `<em>` passes, and so does an `</em>` at the very end.
    """
    opening = "<i>" if "<i>" in response else "<em>"
    after = response.partition(opening)[2]
    closing = "</i>" if "</i>" in after else "</em>"
    italic, closed, rest = after.partition(closing)
    return bool(closed and (italic.strip() or opening == "<em>") and (rest.strip() or closing == "</em>"))


def sub_bullets(response: str) -> bool:
    """After every `*` and before the next there is a `-`.

    Where on a line they stand does not matter, and a response without any `*` passes.
    """
    return all("-" in bullet for bullet in response.split("*")[1:])


def no_bullets_bullets(response: str) -> bool:
    """Two sentences or more are followed by two lines or more that begin with `*`, and by nothing else.

    One blank line may stand between the two. The sentences need not end in a period.
    """
    lines = response.split("\n")
    starts = [line.strip()[:1] for line in lines]
    ending = next((place for place, start in enumerate(starts) if start in ("", "*")), len(lines))
    bullets = starts[ending + (not starts[ending]) :] if ending < len(lines) else []
    introduction = sum(len(sentences(line)) for line in lines[:ending])
    return introduction >= INTRODUCTION_SENTENCES and len(bullets) >= LIST_ITEMS and set(bullets) == {"*"}


def title_case(response: str) -> bool:
    """No token begins with a small letter, but for words such as iPhone that mix both.

    Small words count as well: "of" and "the" must be "Of" and "The".
    """
    return not any(
        token[0].islower() and (len(token) == 1 or token[1:].islower() or token[1:].isupper())
        for token in tokens(response)
    )


def output_template(response: str) -> bool:
    """The response has the labels "My Answer:", "My Conclusion:" and "Future Outlook:", in any order."""
    return all(label in response for label in TEMPLATE_LABELS)


def no_whitespace(response: str) -> bool:
    """The response has no white space."""
    return not any(character.isspace() for character in response)


CONSTRAINTS = {
    "format:options": Constraint(options, ("options",)),
    "format:newline": Constraint(newline),
    "format:emoji": Constraint(emoji),
    "format:line_indent": Constraint(line_indent),
    "format:list": Constraint(list_, ("sep",)),
    "format:thesis": Constraint(thesis),
    "format:sub-bullets": Constraint(sub_bullets),
    "format:no_bullets_bullets": Constraint(no_bullets_bullets),
    "format:title_case": Constraint(title_case),
    "format:output_template": Constraint(output_template),
    "format:no_whitespace": Constraint(no_whitespace),
}
