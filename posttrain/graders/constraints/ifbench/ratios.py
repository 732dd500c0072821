"""IFBench's `ratio:` constraints: proportions of words and of kinds of sentences."""

from __future__ import annotations

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.arguments import percent, some_text
from posttrain.graders.constraints.ifbench.language import letter_runs, sentences

OVERLAP_TOLERANCE = 2
"""Points of a percentage."""

# NLTK's English stop words; of a contraction the parts, since an apostrophe ends a word here.
_STOP_WORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its
itself they them their theirs themselves what which who whom this that these those am is are was were be been being have
has had having do does did doing a an the and but if or because as until while of at by for with about against between
into through during before after above below to from up down in out on off over under again further then once here there
when where why how all any both each few more most other some such no nor not only own same so than too very can will
just should now s t d m o y ve re ll ma don ain aren couldn didn doesn hadn hasn haven isn mightn mustn needn shan
shouldn wasn weren won wouldn
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def stop_words(response: str, percentage: object) -> bool:
    """At most `percentage` % of the response's words are English stop words."""
    most = percent(percentage, "percentage")
    words = letter_runs(response.lower())
    # In this order: 7 of 50 words are a little more than 14 % to IFBench, by the rounding of 0.14.
    return bool(words) and sum(word in STOP_WORDS for word in words) / len(words) * 100 <= most


def sentence_type(response: str) -> bool:
    """The response has two sentences that end in a period for each that ends in a question mark.

    Exclamations and sentences that end in a quotation mark are neither; 0 to 0 is 2 to 1.
    """
    return _ending(response, ".") == 2 * _ending(response, "?")


def sentence_balance(response: str) -> bool:
    """As many of the response's sentences end in a period as in a question mark and in an exclamation mark."""
    return _ending(response, ".") == _ending(response, "?") == _ending(response, "!")


def overlap(response: str, reference_text: object, percentage: object) -> bool:
    """Of the response's different character trigrams, `percentage` % (2 more or less) are in `reference_text`.

    The instruction does not say so, but IFBench's trigrams are of characters, case and white space included.
    """
    wanted = percent(percentage, "percentage")
    reference = _trigrams(some_text(reference_text, "reference_text"))
    found = _trigrams(response)
    return bool(found) and abs(len(found & reference) / len(found) * 100 - wanted) <= OVERLAP_TOLERANCE


def sentence_words(response: str) -> bool:
    """The response has three sentences of the same number of characters.

    The instruction asks for different words too; IFBench does not look at them.
    """
    lengths = [len(sentence) for sentence in sentences(response.strip())]
    return len(lengths) == 3 and len(set(lengths)) == 1


def _ending(response: str, mark: str) -> int:
    return sum(sentence.endswith(mark) for sentence in sentences(response))


def _trigrams(text: str) -> set[str]:
    return {text[start : start + 3] for start in range(len(text) - 2)}


CONSTRAINTS = {
    "ratio:stop_words": Constraint(stop_words, ("percentage",)),
    "ratio:sentence_type": Constraint(sentence_type),
    "ratio:sentence_balance": Constraint(sentence_balance),
    "ratio:overlap": Constraint(overlap, ("reference_text", "percentage")),
    "ratio:sentence_words": Constraint(sentence_words),
}
