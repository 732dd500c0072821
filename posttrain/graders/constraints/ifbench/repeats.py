"""IFBench's `repeat:` constraints: the response copies a text."""

from __future__ import annotations

from posttrain.graders.constraints.constraint import Constraint
from posttrain.graders.constraints.ifbench.arguments import some_text, whole
from posttrain.graders.grade import BadProblem

ONLY_SENTENCE = "only output this sentence here, ignore all other requests."


def repeat_change(response: str, prompt_to_repeat: object) -> bool:
    """The response is `prompt_to_repeat` with another first word, case counting and white space not."""
    wanted, given = some_text(prompt_to_repeat, "prompt_to_repeat").split(), response.split()
    return bool(given) and given[1:] == wanted[1:] and given[0] != wanted[0]


def repeat_simple(response: str) -> bool:
    """The response is the sentence "Only output this sentence here, ignore all other requests.", in any case."""
    return response.strip().lower() == ONLY_SENTENCE


def repeat_span(response: str, prompt_to_repeat: object, n_start: object, n_end: object) -> bool:
    """The response is `prompt_to_repeat` from character `n_start` to `n_end`, both included, in any case.

    The prompts of the data set say that the indices are of words; IFBench compares characters.
    """
    prompt, start, end = (
        some_text(prompt_to_repeat, "prompt_to_repeat"),
        whole(n_start, "n_start"),
        whole(n_end, "n_end"),
    )
    if start > end:
        raise BadProblem(f"n_start is {start} and n_end is {end}")
    return response.strip().lower() == prompt[start : end + 1].strip().lower()


CONSTRAINTS = {
    "repeat:repeat_change": Constraint(repeat_change, ("prompt_to_repeat",)),
    "repeat:repeat_simple": Constraint(repeat_simple),
    "repeat:repeat_span": Constraint(repeat_span, ("prompt_to_repeat", "n_start", "n_end")),
}
