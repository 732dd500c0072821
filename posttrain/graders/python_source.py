"""A grader function that is not trusted: its text runs in the sandbox, in a new process for each grade."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from posttrain.errors import UserError, did_you_mean
from posttrain.graders.environment import distribution, imported_packages, is_installed, package_directories
from posttrain.sandbox import Configuration, Limits, Mode, SandboxError, lent, required, run_source

MEMORY_BYTES = 2 << 30
"""As much as OpenAI's graders have."""


class Raised(Exception):
    """The function raised, ran too long, or ended its process; the message says which."""


class Source(NamedTuple):
    """The text of a grader, the file that its lines are counted in, and its function."""

    text: str
    file: str
    function: str


def parameters(source: Source) -> list[str]:
    """Return the names of the function's parameters; none where it is made by an assignment.

    Raises UserError when the text is not Python, or has no such function that takes two arguments.
    """
    tree = _parsed(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    function = functions.get(source.function)
    if function is None:
        if any(isinstance(node, ast.Name) and node.id == source.function for node in ast.walk(tree)):
            return []
        there = f" It has: {', '.join(functions)}." if functions else ""
        hint = did_you_mean(source.function, functions)
        raise UserError(f"no function '{source.function}'.{hint}{there}", where=source.file)
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    needed = len(names) - len(function.args.defaults)
    keywords = any(default is None for default in function.args.kw_defaults)
    if needed > 2 or (len(names) < 2 and function.args.vararg is None) or keywords:
        message = f"'{source.function}' cannot be called with two arguments"
        raise UserError(message, where=f"{source.file}:{function.lineno}", fix="write `def grade(sample, item)`")
    return names


def sandboxed(source: Source, mode: Mode, seconds: float) -> Callable[[Sequence[Any]], Any]:
    """Return the function as one that runs in the sandbox.

    It takes the list of arguments and returns a number, a truth value, a text, None, or a dictionary of them. It
    raises Raised, also for a result that is none of these, or SandboxError when the sandbox failed. Raises UserError
    when the source lacks a package, or cannot be run at all.
    """
    packages = imported_packages(_parsed(source))
    for module, line in packages.items():
        if not is_installed(module):
            raise UserError(
                f"the grader imports {module}, which is not installed",
                where=f"{source.file}:{line}",
                fix=f"pip install {distribution(module)}",
            )
    configuration = Configuration(required(mode).isolation, package_directories(), tuple(packages))
    limits = Limits(seconds, MEMORY_BYTES)

    def run(arguments: Sequence[Any] | None) -> Any:
        job = {**source._asdict(), "arguments": arguments}
        with lent(configuration) as zygote:
            result, ended = run_source(zygote, job, limits)
        if "raised" in result:
            line = result.get("line")
            raise Raised(f"{result['raised']} ({source.file}{f':{line}' if line else ''})")
        if "value" not in result:
            took = f"took longer than {seconds:g} s"
            raise Raised(took if ended.why == "timed out" else f"ended without a result (status {ended.statuses[0]})")
        return _plain(result["value"])

    try:
        run(None)
    except Raised as error:
        raise UserError(f"the grader cannot be run: {error}", where=source.file) from None
    except SandboxError as error:
        raise UserError(f"the sandbox failed: {error}", where=source.file) from None
    return run


def _plain(value: Any) -> Any:
    """Return a value as the grader returned it, of what `inside/source.py` made of it."""
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("fields"), list):
        return {str(name): _plain(item) for name, item in value["fields"]}
    raise Raised(f"returned {value.get('shown')}: the score must be a finite number")


def _parsed(source: Source) -> ast.Module:
    try:
        return ast.parse(source.text)
    except SyntaxError as error:
        message = f"the grader cannot be run: SyntaxError: {error.msg}"
        raise UserError(message, where=f"{source.file}:{error.lineno}") from None
