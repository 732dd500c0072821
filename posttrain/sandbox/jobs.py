"""What can be run in the sandbox: a script, the tests of a program, a function of an untrusted source."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from posttrain.sandbox.zygote import Ended, Limits, Process, SandboxError, Zygote, contents, memory_file


class Output(NamedTuple):
    """What a script wrote, and how it ended."""

    stdout: bytes
    stderr: bytes
    ended: Ended


class Tested(NamedTuple):
    """The events of a test run (`inside/tests.py` lists them), and how it ended."""

    events: Sequence[Mapping[str, Any]]
    ended: Ended


def run_script(zygote: Zygote, text: str, stdin: str, limits: Limits) -> Output:
    """Run a program as a file would run, with that standard input; raises SandboxError."""
    with ExitStack() as stack:
        source, given = (stack.enter_context(memory_file(_bytes(data))) for data in (text, stdin))
        stdout, stderr = (stack.enter_context(memory_file()) for _ in range(2))
        ended = zygote.run([Process("script", {0: given, 1: stdout, 2: stderr, 3: source})], limits)
        return Output(contents(stdout, limits.file_bytes), contents(stderr, 1 << 16), ended)


def run_tests(zygote: Zygote, job: Mapping[str, Any], limits: Limits) -> Tested:
    """Run a program and, in another process, its tests; raises SandboxError.

    The job is {"programs", "helpers", "tests", "entry_point"}, as `inside/tests.py` has it.
    """
    with ExitStack() as stack:
        given = stack.enter_context(memory_file(_bytes(json.dumps(job))))
        events = stack.enter_context(memory_file())
        pipes = requests_in, requests_out, replies_in, replies_out = *os.pipe(), *os.pipe()
        processes = [
            Process("tests", {3: replies_in, 4: requests_out, 5: given, 6: events}),
            Process("program", {3: requests_in, 4: replies_out}),
        ]
        ended = zygote.run(processes, limits, pipes)
        lines = contents(events).split(b"\n")[:-1]  # the last is empty, or cut off
    return Tested([_object(line) for line in lines], ended)


def run_source(zygote: Zygote, job: Mapping[str, Any], limits: Limits) -> tuple[dict[str, Any], Ended]:
    """Call a function of an untrusted source; return its result, {} if it ended without one; raises SandboxError.

    The job is {"text", "file", "function", "arguments"}, the result as `inside/source.py` has it.
    """
    with memory_file(_bytes(json.dumps(job, default=str))) as given, memory_file() as result:
        ended = zygote.run([Process("source", {3: given, 4: result})], limits)
        return _object(contents(result)), ended


def run_probe(zygote: Zygote, job: Mapping[str, Any]) -> list[str]:
    """Return the ways out that a process found; raises SandboxError."""
    with memory_file(_bytes(json.dumps(job))) as given, memory_file() as report:
        ended = zygote.run([Process("probe", {3: given, 4: report})], Limits(20.0))
        data = contents(report)
    if not data:
        raise SandboxError(f"the probe {ended.why} without a report, status {ended.statuses[0]}")
    return json.loads(data)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that an untrusted process wrote, {} if it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
