"""Templates of OpenAI's graders: ``{{ item.answer }}`` is the problem's, ``{{ sample.output_text }}`` the model's."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator

from posttrain.graders.answers import final_text
from posttrain.graders.grade import BadProblem, field, shortened
from posttrain.graders.tool_calls import parse_tool_calls

SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices")
_VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_UNCLOSED = re.compile(r"\{\{\s*(?:item|sample)\b.*", re.DOTALL)
_PATH = re.compile(r"(item|sample)(\.[\w-]+(?:\.[\w-]+|\[\d+\])*)")


class NotInSample(Exception):
    """The completion does not have what a template asks of it: it is no JSON, or its JSON lacks the key."""


class Variable(NamedTuple):
    """``item.calls[0].name`` as (item, (calls, 0, name)), all of them text."""

    namespace: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.namespace, *self.path))


@lru_cache(maxsize=1024)
def parse(template: str) -> tuple[str | Variable, ...]:
    """Return the template's texts and variables in order; raises ValueError for what is no variable of ours."""
    parts: list[str | Variable] = []
    end = 0
    for match in _VARIABLE.finditer(template):
        found = _PATH.fullmatch(match[1])
        if not found:
            raise ValueError(
                f"{match[0]!r} is not a variable: write {{{{ item.FIELD }}}} or {{{{ sample.output_text }}}}"
            )
        variable = Variable(found[1], tuple(re.findall(r"[\w-]+", found[2])))
        if variable.namespace == "sample" and variable.path[0] not in SAMPLE_FIELDS:
            raise ValueError(f"{match[0]!r}: a sample has {', '.join(SAMPLE_FIELDS)}")
        parts += [template[end : match.start()], variable]
        end = match.end()
    parts.append(template[end:])
    for part in parts:
        if isinstance(part, str) and (opened := _UNCLOSED.search(part)):
            raise ValueError(f"{shortened(opened[0])!r} is not closed: write {{{{ item.FIELD }}}}")
    return tuple(part for part in parts if part != "")


def _checked(template: str) -> str:
    parse(template)
    return template


Template = Annotated[str, AfterValidator(_checked)]
"""A grader's setting that is a template."""


def render(template: str, item: Mapping[str, Any], sample: Mapping[str, Any]) -> str:
    """Return the text. A value that is no text is written as JSON.

    Raises BadProblem, naming the variable, when `item` lacks it, and NotInSample when `sample` does.
    """
    return "".join(part if isinstance(part, str) else as_text(look_up(part, item, sample)) for part in parse(template))


def check_item(template: str, item: Mapping[str, Any]) -> None:
    """Raise BadProblem when the problem lacks a variable of the template."""
    for part in parse(template):
        if isinstance(part, Variable) and part.namespace == "item":
            look_up(part, item, {})


def look_up(variable: Variable, item: Mapping[str, Any], sample: Mapping[str, Any]) -> Any:
    """Return the variable's value; a number in the path counts into a list."""
    first, *rest = variable.path
    if variable.namespace == "item":
        try:
            value = field(item, first)
        except BadProblem as error:
            raise BadProblem(f"{{{{ {variable} }}}}: {error}") from None
    elif first in sample:
        value = sample[first]
    else:
        raise NotInSample("the completion is not JSON" if first == "output_json" else f"no {first}")
    for key in rest:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif variable.namespace == "item":
            raise BadProblem(f"the problem has no {variable}: nothing called '{key}' there")
        else:
            raise NotInSample(f"the completion has no {variable}")
    return value


def as_text(value: Any) -> str:
    """Return a variable's value as it stands in a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def openai_sample(completion: str) -> dict[str, Any] | None:
    """Return the namespace `sample` of a completion: the text after its thinking, the text's value where it is JSON,
    and its tool calls. None if the thinking never ended."""
    text = final_text(completion)
    if text is None:
        return None
    tools = parse_tool_calls(text)
    message = {"role": "assistant", "content": text.strip(), "tool_calls": tools}
    sample: dict[str, Any] = {"output_text": text.strip(), "output_tools": tools, "choices": [{"message": message}]}
    with contextlib.suppress(ValueError, RecursionError):
        sample["output_json"] = json.loads(text)
    return sample
