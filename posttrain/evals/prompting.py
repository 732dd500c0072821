"""Other ways to ask the same problems: a system prompt, a template, examples. The first thing to try before any
training, and the row that a trained model has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from posttrain.data.load import load_data
from posttrain.data.records import Chat, Message, Problem
from posttrain.errors import UserError
from posttrain.recipe.schema import Data, PromptVariant


def read_shots(variant: PromptVariant, key: str, *, seed: int, place: Callable[[str], str]) -> list[Chat]:
    """Return the conversations that the variant shows; `key` is its dotted key in the recipe."""
    shots: list[Chat] = []
    for index, source in enumerate(variant.shots):

        def at(asked: str, index: int = index) -> str:
            return place(asked.replace("data.train[0]", f"{key}.shots[{index}]", 1))

        read = load_data(Data(train=[source]), "sft", seed=seed, parts=("train",), place=at).train
        shots += [row for row in read if isinstance(row, Chat)]
    return shots


def refuse_shown(shots: Sequence[Chat], problems: Sequence[Problem], where: str) -> None:
    """Raise UserError when an example shows the answer of a problem."""
    asked = {problem.fields.get("prompt"): problem for problem in problems}
    for shot in shots:
        for turn in shot.messages:
            if turn["role"] == "user" and turn["content"] in asked:
                problem = asked[turn["content"]]
                raise UserError(f"{shot.place} shows the answer of the problem {problem.place}", where=where)


def asked_as(variant: PromptVariant, shots: Sequence[Chat], problem: Problem) -> Problem:
    """Return the problem with its prompt as the variant asks it; what the grader reads stays as it is."""
    system = [turn for turn in problem.prompt if turn["role"] == "system"]
    turns = [turn for turn in problem.prompt if turn["role"] != "system"]
    if variant.system is not None:
        system = [{"role": "system", "content": variant.system}]
    shown: list[Message] = [turn for shot in shots for turn in shot.messages if turn["role"] != "system"]
    last = max(i for i, turn in enumerate(turns) if turn["role"] in ("user", "tool"))
    if turns[last]["role"] == "user":
        asked = variant.template.replace("{prompt}", turns[last]["content"])
        turns[last] = {**turns[last], "content": asked}
    return replace(problem, prompt=[*system, *shown, *turns])
