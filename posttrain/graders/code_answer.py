"""The program in a completion, as the texts of which the first that compiles is meant."""

from __future__ import annotations

import re
import textwrap

from posttrain.graders.code_problem import defines

MAX_CHARACTERS = 200_000
_PYTHON = {"python", "python3", "py"}
_OUTSIDE = re.compile(r"^(?=[^\s#)\]}])", re.MULTILINE)


def program_text(text: str) -> str:
    """Return the last Python block of the text, else its last block without a language, else all of it."""
    blocks = fenced_blocks(text)
    for languages in (_PYTHON, {""}):
        of_these = [block for language, block in blocks if language in languages]
        if of_these:
            return of_these[-1]
    return text


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Return (language, content) of every fenced block; one that is not closed goes to the end."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.strip().startswith("```"):
            inside = not inside
            if inside:
                blocks.append((line.strip()[3:].strip().lower(), []))
        elif inside:
            blocks[-1][1].append(line)
    return [(language, textwrap.dedent("\n".join(lines))) for language, lines in blocks]


def programs(code: str, stub: str, entry_point: str) -> list[str]:
    """Return the texts that the code of a completion may mean.

    With a stub, code that defines the function stands after it; other code is the function's body, perhaps
    without its indentation or with something after it.
    """
    if not stub:
        return [code]
    if defines(code, entry_point):
        return [f"{stub}\n\n{code}", code]
    stub = stub if stub.endswith("\n") else f"{stub}\n"
    cut = _OUTSIDE.search(code)
    body = code[: cut.start()] if cut else code
    return [stub + code, stub + textwrap.indent(code, "    "), f"{stub}    {code}", stub + body]
