"""Grader `json`: the completion is JSON, valid against a schema, and right field by field."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from posttrain.errors import UserError
from posttrain.graders.answers import final_text
from posttrain.graders.grade import BadProblem, Grade, Grader, GraderSettings, Part, shortened, verdict
from posttrain.graders.json_fields import Compare, FieldSettings, compare_field, value_at
from posttrain.graders.json_schema import Check, checker

# pydantic's old BaseModel.schema() would be hidden by the key that everybody expects here.
warnings.filterwarnings("ignore", message='Field name "schema" in "JsonSettings"')

_EXTRA_WEIGHT = 1.0


class JsonSettings(GraderSettings):
    """The completion is JSON, valid against the schema, and has the fields of the problem's `answer`."""

    type: Literal["json"]
    schema: dict[str, Any] | None = Field(  # type: ignore[assignment]
        None,
        description="A JSON Schema, or OpenAI's response_format. Absent, with no path either: the problem's field "
        "`schema` where it has one.",
    )
    path: str | None = Field(None, description="A JSON file with the schema, relative to the recipe.")
    fields: dict[str, Compare | FieldSettings] | None = Field(
        None,
        description="The fields to compare with `answer`, by dotted path: {total: {compare: number, tolerance: 0.01}, "
        "tags: set}. Absent: every key of the answer, by equals. {}: none, the schema alone decides.",
    )
    extra_keys: Literal["wrong", "ignore"] = Field(
        "wrong", description="What a key is that the answer does not have: a wrong field, or nothing."
    )

    @model_validator(mode="after")
    def _one_schema(self) -> JsonSettings:
        if self.schema is not None and self.path is not None:
            raise ValueError("give schema or path, not both")
        return self


def make(settings: JsonSettings, base_dir: Path) -> Grader:
    """Return the grader; it reads the problem's `answer` where that is an object, and perhaps its `schema`.

    Raises UserError when the schema cannot be read or is none, or jsonschema is not installed.
    """
    fixed = _fixed_check(settings, base_dir)

    def grade(completion: str, problem: Mapping[str, Any]) -> Grade:
        check, gold = fixed or _row_check(problem), answer_of(problem)
        text = final_text(completion)
        if text is None:
            return verdict(False, "thinking never ended")
        try:
            value = read_json(text)
            complaint = check(value)
            if gold is None:
                return verdict(not complaint, complaint)
            if not isinstance(value, dict):
                return verdict(False, complaint or "not an object")
            return _compared(value, gold, complaint)
        except RecursionError:
            return verdict(False, "not JSON: nested too deeply")
        except ValueError as error:
            if isinstance(error, BadProblem):
                raise
            return verdict(False, f"not JSON: {error}")

    def _compared(value: dict[str, Any], gold: dict[str, Any], complaint: str) -> Grade:
        fields = _fields(settings, gold)
        parts = [compare_field(path, how, value_at(value, path), value_at(gold, path)) for path, how in fields.items()]
        weights = [how.weight for how in fields.values()]
        if settings.fields != {} and settings.extra_keys == "wrong":
            known = gold.keys() | {path.partition(".")[0] for path in fields}
            extra = [key for key in value if key not in known]
            parts += [Part(key, 0.0, False, "not in the answer") for key in extra]
            weights += [_EXTRA_WEIGHT] * len(extra)
        right = math.fsum(w for part, w in zip(parts, weights, strict=True) if part.passed)
        notes = [f"schema: {complaint}"] if complaint else []
        return Grade(
            score=right / math.fsum(weights) if weights else float(not complaint),
            passed=not complaint and all(part.passed for part in parts),
            note="; ".join([*notes, *(f"{part.name}: {part.note}" for part in parts if not part.passed)]),
            answer=json.dumps(value, sort_keys=True, ensure_ascii=False),
            parts=tuple(parts),
        )

    def gold(problem: Mapping[str, Any]) -> str | None:
        check, gold = fixed or _row_check(problem), answer_of(problem)
        if gold is None:
            if settings.fields:
                raise BadProblem("`fields` are to be compared, and the problem's `answer` is no object")
            return None
        if complaint := check(gold):
            raise BadProblem(f"the answer does not fit the schema: {complaint}")
        return json.dumps(gold, ensure_ascii=False)

    return Grader(settings.name or settings.type, settings.weight, grade, gold)


def read_json(text: str) -> Any:
    """Return the value of a text that is JSON and nothing else, but for a ``` fence around it.

    Raises ValueError, in a few words, for what is not strictly JSON: NaN, or a key given twice.
    """
    try:
        return json.loads(_unfenced(text.strip()), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}" if text.strip() else "nothing there") from None


def _unfenced(text: str) -> str:
    """Return what stands between a first line of ``` or ```json and a last line of ```; the text where it has none."""
    first, _, rest = text.partition("\n")
    return rest.removesuffix("```") if first.strip().lower() in ("```", "```json") and rest.endswith("```") else text


def answer_of(problem: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the problem's `answer` where it is an object, or the JSON text of one; None where it is not.

    Raises BadProblem for text that begins as an object and is none.
    """
    answer = problem.get("answer")
    if isinstance(answer, str) and answer.lstrip().startswith("{"):
        try:
            answer = read_json(answer)
        except (ValueError, RecursionError) as error:
            raise BadProblem(f"the answer begins as a JSON object and is none: {error}") from None
    return answer if isinstance(answer, dict) else None


def _fields(settings: JsonSettings, gold: Mapping[str, Any]) -> dict[str, FieldSettings]:
    fields: Mapping[str, Compare | FieldSettings] = dict.fromkeys(gold, "equals")
    if settings.fields is not None:
        fields = settings.fields
    return {
        path: FieldSettings.model_validate({"compare": how}) if isinstance(how, str) else how
        for path, how in fields.items()
    }


def _fixed_check(settings: JsonSettings, base_dir: Path) -> Check | None:
    """Return the check against the schema of the settings, or None where they have none."""
    schema: Any = settings.schema
    where = "schema"
    if settings.path is not None:
        where, file = settings.path, base_dir / settings.path
        try:
            schema = json.loads(file.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UserError(f"cannot read the schema: {error.strerror}", where=str(file)) from None
        except ValueError as error:
            raise UserError(f"not JSON: {error}", where=str(file)) from None
    if schema is None:
        return None
    try:
        return checker(schema)
    except ValueError as error:
        raise UserError(str(error), where=where) from None


def _row_check(problem: Mapping[str, Any]) -> Check:
    """Return the check against the problem's own schema; one that nothing fails where it has none."""
    schema = problem.get("schema")
    if schema is None:
        return lambda value: ""
    try:
        return _check_of_text(schema if isinstance(schema, str) else json.dumps(schema))
    except ValueError as error:
        raise BadProblem(f"the problem's schema: {error}") from None


@lru_cache(maxsize=1024)
def _check_of_text(schema: str) -> Check:
    return checker(json.loads(schema))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {shortened(twice)!r} stands there twice")
    return read
