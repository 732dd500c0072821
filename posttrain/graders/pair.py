"""Two texts to compare, an input and a reference: what OpenAI's `string_check` and `text_similarity` share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from pydantic import Field

from posttrain.graders.grade import GraderSettings
from posttrain.graders.template import (
    NotInSample,
    Template,
    Variable,
    check_item,
    openai_sample,
    parse,
    render,
)


class PairSettings(GraderSettings):
    """An input and a reference, both templates."""

    input: Template = Field(description="The text that is judged, a template: {{ sample.output_text }}.")
    reference: Template = Field(description="The text that it is held against, a template: {{ item.answer }}.")


def both_texts(
    settings: PairSettings, completion: str, problem: Mapping[str, Any]
) -> tuple[str, str] | tuple[None, str]:
    """Return the input and the reference of a completion, or None and why it has none.

    Raises BadProblem, naming the variable, when the problem lacks one.
    """
    sample = openai_sample(completion)
    if sample is None:
        return None, "thinking never ended"
    try:
        return render(settings.input, problem, sample), render(settings.reference, problem, sample)
    except NotInSample as missing:
        return None, str(missing)


def gold_texts(settings: PairSettings, problem: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return a completion whose two texts are equal, and the text that both then are.

    That is the other side where one side is a variable of the sample and nothing else; None elsewhere. Raises
    BadProblem, naming the variable, when the problem lacks one.
    """
    check_item(settings.input, problem)
    check_item(settings.reference, problem)
    for asked, given in ((settings.input, settings.reference), (settings.reference, settings.input)):
        parts = parse(asked)
        if len(parts) == 1 and _of_sample(parts[0]) and not any(map(_of_sample, parse(given))):
            text = render(given, problem, {})
            completion = _completion(parts[0], text)
            return None if completion is None else (completion, text)
    return None


def _of_sample(part: str | Variable) -> TypeGuard[Variable]:
    return isinstance(part, Variable) and part.namespace == "sample"


def _completion(variable: Variable, text: str) -> str | None:
    """Return a completion in which the sample's variable is `text`, where one is easily made."""
    path = variable.path
    if path == ("output_text",):
        return text
    if path[0] != "output_json" or len(path) == 1 or any(key.isdigit() for key in path):
        return None
    value: Any = text
    for key in reversed(path[1:]):
        value = {key: value}
    return json.dumps(value, ensure_ascii=False)
