"""AI2's verifiers (open-instruct's `ground_truth_utils.py`), each as a grader of ours and the problem it reads.

A verifier is named by the row's `dataset`. Ours ask for more where AI2's can be talked into a reward: two
different final answers are none, thinking is no answer, and a format alone pays nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from posttrain.errors import did_you_mean
from posttrain.graders.answers import boxed, final_text, tagged
from posttrain.graders.grade import BadProblem, Grade, Grader, shortened, verdict
from posttrain.graders.squad import normalized, token_f1


class Delegated(NamedTuple):
    """A verifier that is one of our graders: its settings, and its fields from the row's ground truth.

    `shown` is what that grader gets to see of the text after thinking, and `gold` a text around its gold answer.
    """

    settings: dict[str, Any]
    fields: Callable[[Any], dict[str, Any]]
    shown: Callable[[str], str] = lambda text: text
    gold: str = "{}"


class TextRule(NamedTuple):
    """A verifier of short texts: the final answers of the text after thinking, how one scores, what a right one looks
    like, and the right answers in the row's ground truth."""

    answers: Callable[[str], list[str]]
    score: Callable[[str, str], float]
    gold: str
    texts: Callable[[Any], Any] = lambda truth: truth


_FLAN = "The answer is: "
_MINERVA = "Final Answer: The final answer is"


def _after_flan_marker(text: str) -> list[str]:
    """Return the text after the last marker, and the first lines after the others; the whole without a marker."""
    *earlier, last = text.split(_FLAN)
    return [*(part.partition("\n")[0] for part in earlier[1:]), last]


def _minerva_lines(text: str) -> str:
    r"""Return what the lines ``Final Answer: The final answer is X. I hope it is correct.`` name, in boxes."""
    lines = (part.partition("\n")[0] for part in text.split(_MINERVA)[1:])
    answers = (line.partition("I hope it is correct")[0].strip().removesuffix(".") for line in lines)
    return "\n".join(answer if boxed(answer) else rf"\boxed{{{answer}}}" for answer in answers)


def _without_tags(text: str) -> str:
    return text.replace("<answer>", "").replace("</answer>", "").strip()


def _answer(truth: Any) -> dict[str, Any]:
    return {"answer": truth}


def _finished(text: str) -> list[str]:
    return tagged(text, "finish")


def _json_or_text(truth: Any) -> Any:
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return json.loads(truth)
    return truth


def _equal(answer: str, gold: str) -> float:
    return float(normalized(answer) == normalized(gold))


def _listed(truth: Any, what: str) -> list[Any]:
    """Return the ground truth's list; of a text its JSON. AI2's pickles are never read: loading one runs code."""
    try:
        value = json.loads(truth) if isinstance(truth, str) else truth
    except (ValueError, RecursionError):
        message = f"the ground truth must be a JSON list of {what}, not {shortened(truth, 40)!r}"
        raise BadProblem(f"{message} (pickled tests are not read: write them out as JSON)") from None
    if not isinstance(value, list) or not value:
        raise BadProblem(f"the ground truth must be a JSON list of {what}")
    return value


def _constraints(truth: Any) -> dict[str, Any]:
    from posttrain.graders.constraints.ground_truth import constraints_of_ground_truth

    asked = constraints_of_ground_truth(truth)
    return {"instruction_id_list": [one.id for one in asked], "kwargs": [one.kwargs for one in asked]}


DELEGATED: dict[str, Delegated] = {
    "gsm8k": Delegated({"type": "number"}, _answer),
    "math": Delegated({"type": "math"}, _answer),
    "strict_math": Delegated({"type": "math"}, _answer, _minerva_lines, _MINERVA + " {}. I hope it is correct."),
    "ifeval": Delegated({"type": "instruction", "score": "fraction"}, _constraints, _without_tags),
    "code": Delegated({"type": "code", "score": "pass_rate"}, lambda truth: {"tests": _listed(truth, "asserts")}),
    "code_stdio": Delegated(
        {"type": "code", "score": "pass_rate"}, lambda truth: {"cases": _listed(truth, "{input, output}")}
    ),
}
TEXTS: dict[str, TextRule] = {
    "flan": TextRule(_after_flan_marker, _equal, _FLAN + "{}"),
    "string_matcher": TextRule(lambda text: tagged(text, "answer"), _equal, "<answer>{}</answer>"),
    "puzzle": TextRule(lambda text: [_without_tags(text)], _equal, "{}"),
    "string_f1": TextRule(lambda text: [_without_tags(text)], token_f1, "{}"),
    "re_search": TextRule(_finished, _equal, "<finish>{}</finish>", _json_or_text),
    "re_search_f1": TextRule(_finished, token_f1, "<finish>{}</finish>", _json_or_text),
}
FUNCTION = "ifeval_old"
"""The verifier of Tülu 3's first instruction rows, which name one constraint by its function in open-instruct."""
_JUDGED = "asks a model: use `type: score_model`, with the prompt and the model that are to judge"
_COUNTS_TOKENS = "counts tokens, which a grader does not see: use `type: length`, in words or characters"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("max_length", "up_to_max_length"), _COUNTS_TOKENS),
    **dict.fromkeys(
        (
            "general-quality",
            "general-quality_rubric",
            "general-quality_ref",
            "general-safety",
            "general-factuality",
            "general-creative_writing",
            "general-refusal",
            "general-web_instruct_general_verifier",
            "rubric",
        ),
        _JUDGED,
    ),
    "passthrough": "grades nothing: its rewards come from an environment, and there is none here",
}


def grader_of(name: str, build: Callable[[dict[str, Any]], Grader]) -> tuple[Grader, Callable[[Any], dict[str, Any]]]:
    """Return the verifier's grader, and the function that makes its problem out of a ground truth.

    `build` makes one of our graders out of its settings. Raises BadProblem for a name that is not known, or that
    cannot be graded here.
    """
    if name in REFUSED:
        raise BadProblem(f"the verifier '{name}' {REFUSED[name]}")
    if name in TEXTS:
        rule = TEXTS[name]
        return _text_grader(name, rule), lambda truth: {"answer": rule.texts(truth)}
    if name == FUNCTION:
        return _function_grader(), lambda truth: {"ground_truth": truth}
    if name not in DELEGATED:
        hint = did_you_mean(name, (*DELEGATED, *TEXTS, FUNCTION, *REFUSED))
        known = ", ".join(sorted((*DELEGATED, *TEXTS, FUNCTION)))
        raise BadProblem(f"unknown verifier '{name}'.{hint} There are {known}; `remap` renames one")
    delegated = DELEGATED[name]
    inner = build({**delegated.settings, "name": name})
    return _showing(inner, delegated), delegated.fields


def names_a_function(truth: Any) -> bool:
    """Tell whether a ground truth is of the kind that `ifeval_old` reads."""
    value = _json_or_text(truth)
    return isinstance(value, Mapping) and "func_name" in value


def _showing(inner: Grader, delegated: Delegated) -> Grader:
    """Return the grader seeing only what the verifier shows it."""

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        text = final_text(completion)
        return inner.grade(completion if text is None else delegated.shown(text), problem)

    def gold(problem: Mapping[str, Any]) -> str | None:
        answer = inner.gold(problem)
        return None if answer is None else delegated.gold.format(answer)

    return Grader(inner.name, inner.weight, grade, gold, inner.parallel)


def _function_grader() -> Grader:
    from posttrain.graders.constraints.if_functions import function_of_ground_truth

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        function = function_of_ground_truth(problem["ground_truth"])
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        followed = function.followed(_without_tags(text))
        return verdict(
            followed, "" if followed else f"not followed: {function.name} {shortened(str(function.arguments))}"
        )

    def gold(problem: Mapping[str, Any]) -> None:
        function_of_ground_truth(problem["ground_truth"])

    return Grader(FUNCTION, 1.0, grade, gold)


def _text_grader(name: str, rule: TextRule) -> Grader:
    """Return the grader that compares the one final answer with `answer`, a text or a list of them."""

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        expected = _texts(problem["answer"])
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        answers = {normalized(answer): answer for answer in rule.answers(text)}
        if len(answers) != 1 or "" in answers:
            return verdict(False, "conflicting answers" if len(answers) > 1 else "no answer")
        [(normal, answer)] = answers.items()
        score = max(rule.score(answer, gold) for gold in expected)
        note = "" if score == 1 else f"answer {shortened(answer)}, expected {shortened(' | '.join(expected))}"
        return Grade(score, score == 1, note, normal)

    def gold(problem: Mapping[str, Any]) -> str:
        return rule.gold.format(_texts(problem["answer"])[0])

    return Grader(name, 1.0, grade, gold)


def _texts(truth: Any) -> list[str]:
    """Return the right answers as a list; raises BadProblem when there is none, or an empty one."""
    texts = [str(text) for text in (truth if isinstance(truth, list) else [truth])]
    if not texts or not all(map(normalized, texts)):
        raise BadProblem(f"the ground truth is empty: {shortened(str(truth))!r}")
    return texts
