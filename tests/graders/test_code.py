from __future__ import annotations

import gzip
import json
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from posttrain.graders import BadProblem, Grade, Grader, build, check_problem, grade_all
from posttrain.graders.code import CodeSettings
from posttrain.graders.code_answer import fenced_blocks, program_text, programs

ADD = {
    "prompt": "Write add.",
    "entry_point": "add",
    "tests": ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(-1, 1) == 0"],
    "solution": "def add(a, b):\n    return a + b",
}
DOUBLE = {"cases": [{"input": "2\n", "output": "4\n"}, {"input": "5\n", "output": "10"}]}
HUMANEVAL = {
    "task_id": "Test/0",
    "prompt": "from typing import List\n\n\ndef half(x: int) -> int:\n    return x // 2\n\n\n"
    'def total(xs: List[int]) -> int:\n    """ Sum of the halves. """\n',
    "entry_point": "total",
    "canonical_solution": "    return sum(half(x) for x in xs)\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate([2, 4]) == 3\n"
    "    assert candidate([]) == half(1)\n    for n in range(5):\n        assert candidate([n] * 2) == 2 * half(n)\n",
}
MBPP = {
    "text": "Write a function to find the height.",
    "code": "class Node:\r\n\tdef __init__(self, data):\r\n\t\tself.data, self.left = data, None\r\n"
    "def height(node):\r\n\treturn 0 if node is None else 1 + height(node.left)",
    "task_id": 1,
    "test_setup_code": "root = Node(1)\nroot.left = Node(2)",
    "test_list": ["assert (height(root)) == 2", "assert height(root.left) == 1 "],
    "challenge_test_list": [],
}


def grader(**settings: Any) -> Grader:
    return build(CodeSettings(type="code", **settings), Path())


def grade(program: str, problem: dict[str, Any], **settings: Any) -> Grade:
    return grader(**settings).grade(textwrap.dedent(program), problem)


# What is right and what is wrong


@pytest.mark.parametrize("problem", [ADD, HUMANEVAL, MBPP], ids=["tests", "humaneval", "mbpp"])
def test_a_reference_passes(problem: dict[str, Any]) -> None:
    check_problem([grader()], problem)


def test_every_assert_is_a_part() -> None:
    result = grade("def add(a, b):\n    return abs(a) + b", ADD)
    assert (result.score, result.passed) == (0.0, False)
    assert [(part.name, part.passed, part.note) for part in result.parts] == [
        ("add(1, 2) == 3", True, ""),
        ("add(2, 2) == 4", True, ""),
        ("add(-1, 1) == 0", False, "got 2"),
    ]
    assert result.note == "passed 2 of 3; add(-1, 1) == 0: got 2"


def test_the_pass_rate() -> None:
    assert grade("def add(a, b):\n    return abs(a) + b", ADD, score="pass_rate")[:2] == (2 / 3, False)
    assert grade("def add(a, b):\n    return a + b", ADD, score="pass_rate")[:2] == (1.0, True)
    assert grade("def add(a, b):\n    return None", ADD, score="pass_rate")[:2] == (0.0, False)


@pytest.mark.parametrize(
    ("program", "note"),
    [
        ("def add(a, b):\n    return a - b", "got -1"),
        ("def add(a, b):\n    return a + c", "NameError: name 'c' is not defined (line 2 of the program)"),
        ("def add(a, b)\n    return a + b", "SyntaxError: expected ':' (program.py, line 1) (line 1 of the program)"),
        ("def plus(a, b):\n    return a + b", "NameError: the program defines no 'add'"),
        ("import nothing\ndef add(a, b): return a + b", "No module named 'nothing' (line 1 of the program)"),
        ("def add(a, b):\n    while True: pass", "timed out"),
        ("def add(a, b):\n    import time; time.sleep(100)", "timed out"),
        ("def add(a, b):\n    return [0] * 10**10", "MemoryError"),
        ("def add(a, b):\n    return add(a, b)", "RecursionError: maximum recursion depth exceeded"),
        ("def add(a, b):\n    import ctypes; ctypes.string_at(0)", "the program was killed (signal 11)"),
    ],
)
def test_a_wrong_program(program: str, note: str) -> None:
    result = grade(program, ADD, timeout_seconds=0.5)
    assert (result.score, result.passed, result.error) == (0.0, False, "")
    assert note in result.note


def test_tests_before_a_loop_count() -> None:
    program = "def add(a, b):\n    while a < 0: pass\n    return a + b"
    result = grade(program, ADD, score="pass_rate", timeout_seconds=0.5)
    assert [part.passed for part in result.parts] == [True, True, False]
    assert result.score == 2 / 3 and result.parts[2].note == "timed out"


def test_humaneval_completions() -> None:
    body = "    return sum(half(x) for x in xs)"
    whole = "def total(xs):\n    return sum(half(x) for x in xs)"
    for completion in (
        body,
        body.strip(),
        whole,
        f"Here it is:\n```python\n{whole}\n```\nIt adds.",
        f"```python\n{body}\n```",
        f"{body}\n\nThis adds the halves.",
        f"{body}\n\n\ndef another(x):\n    return x",
        HUMANEVAL["prompt"] + body,
        f"<think>\n```python\ndef total(xs): return 0\n```\n</think>\n```python\n{whole}\n```",
    ):
        assert grade(completion, HUMANEVAL).passed, completion
    assert not grade("    return len(xs)", HUMANEVAL).passed
    assert not grade("", HUMANEVAL).passed
    assert grade(f"<think>{body}", HUMANEVAL).note == "thinking never ended"


def test_a_helper_of_the_prompt_cannot_be_replaced() -> None:
    cheat = "def half(x):\n    return 0\n\ndef total(xs):\n    return 0"
    assert not grade(cheat, HUMANEVAL).passed


def test_standard_input_and_output() -> None:
    assert grade("print(int(input()) * 2)", DOUBLE).passed
    assert grade(
        "import sys\nsys.stdout.write(str(int(sys.stdin.read()) * 2) + '  \\n\\n')\nsys.exit(0)", DOUBLE
    ).passed
    assert grade("def main():\n    print(int(input()) * 2)\nif __name__ == '__main__':\n    main()", DOUBLE).passed
    wrong = grade("print(4)", DOUBLE, score="pass_rate")
    assert (wrong.score, wrong.note) == (0.5, "passed 1 of 2; case 2: printed '4'")
    assert "ZeroDivisionError" in grade("print(4); 1 / 0", DOUBLE).note
    assert grade("print(int(input()) * 2)\nimport os; os._exit(1)", DOUBLE).parts[0].note
    assert "case 1: timed out" in grade("while True: pass", DOUBLE, timeout_seconds=0.5).note


def test_cases_as_calls() -> None:
    problem = {
        "entry_point": "pair",
        "cases": [{"input": [1, "a"], "output": [1, "a"]}, {"input": [None, {"x": [1]}], "output": [None, {"x": [1]}]}],
    }
    assert grade("def pair(a, b):\n    return a, b", problem).passed
    assert not grade("def pair(a, b):\n    return b, a", problem).passed


EXCHANGES = {
    "a list changed in place": ("def f(xs):\n    xs.sort()", "xs = [3, 1]\nf(xs)\nassert xs == [1, 3]"),
    "a dictionary changed in place": ("def f(d):\n    d['x'] = 1", "d = {}\nf(d)\nassert d == {'x': 1}"),
    "generators": ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\nassert next(f(1)) == 0"),
    "a function of the tests": ("def f(g, x):\n    return g(x)", "assert f(lambda x: x + 1, 2) == 3"),
    "a function of the program": ("def f(n):\n    return lambda x: x + n", "assert f(2)(3) == 5"),
    "nested": ("def f():\n    return {1: (2, {3}, b'4', 1j, 2**90)}", "assert f() == {1: (2, {3}, b'4', 1j, 2**90)}"),
    "floats": ("def f():\n    return -0.0, float('inf')", "x, y = f()\nassert str(x) == '-0.0'\nassert y == 1e999"),
    "collections": (
        "from collections import *\ndef f():\n    return Counter('aab'), deque([1])",
        "c, d = f()\nassert c.most_common(1) == [('a', 2)]\nassert d.popleft() == 1",
    ),
    "a subclass": ("import enum\nclass E(enum.IntEnum):\n    A = 1\ndef f():\n    return E.A", "assert f() == 1"),
    "an exception": (
        "def f(x):\n    raise ValueError('no ' + x)",
        "try:\n    f('x')\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'no x'",
    ),
    "an exception of the program's": (
        "class No(Exception): pass\ndef f():\n    raise No('x')",
        "try:\n    f()\nexcept No:\n    raised = True\nassert raised",
    ),
    "an object": (
        """
        class P:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
            def __len__(self): return self.x
            def __add__(self, other): return P(self.x + other.x)
        """,
        "p = P(2)\nassert p == P(2)\nassert p != P(3)\nassert p.x == 2\nassert len(p) == 2\nassert (p + p).x == 4\n"
        "p.x = 7\nassert p.x == 7\nassert isinstance(p, P)\nassert not p == 7",
    ),
    "a type": ("def f(t):\n    return t is int", "assert f(int)"),
    "the name of a builtin": ("def sum(a, b):\n    return a * b", "assert sum(3, 4) == 12"),
    "a module": ("import math\ndef f():\n    return 0.1 + 0.2", "assert math.isclose(f(), 0.3)"),
    "test functions": (
        "def f(x):\n    return x",
        "def test_one():\n    assert f(1) == 1\n\ndef test_two():\n    for i in range(3):\n        assert f(i) == i",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("program", "tests"), EXCHANGES.values(), ids=EXCHANGES)
def test_values_pass_between_program_and_tests(program: str, tests: str) -> None:
    result = grade(program, {"tests": tests})
    assert result.passed, result


def test_tests_as_json_text() -> None:
    assert grade("def add(a, b):\n    return a + b", {"tests": json.dumps(ADD["tests"])}).passed


def test_an_assert_that_is_not_reached() -> None:
    tests = "def check(f):\n    if f(0):\n        assert f(1)\n    assert f(2)\ncheck(f)"
    assert len(grade("def f(x): return True", {"tests": tests}).parts) == 2
    assert len(grade("def f(x): return x", {"tests": tests}).parts) == 1
    assert not grade("def f(x): raise OSError", {"tests": tests}).passed
    assert not grade("def f(x): return 0", {"tests": "if f(0):\n    assert f(1)"}).passed


@pytest.mark.parametrize("end", ["import time; time.sleep(100)", "import os; os._exit(0)", "raise SystemExit(0)"])
def test_a_loop_of_asserts_must_come_to_its_end(end: str) -> None:
    tests = "def check(f):\n    for n in range(3):\n        value = f(n)\n        assert value == n\ncheck(f)"
    program = f"def f(n):\n    if n == 1:\n        {end}\n    return n"
    assert not grade(program, {"tests": tests}, timeout_seconds=0.3).passed
    assert not grade(program, {"tests": "for n in range(3): assert f(n) == n"}, timeout_seconds=0.3).passed


def test_many_tests_are_counted_and_not_all_listed() -> None:
    problem = {"tests": [f"assert f({number}) == {number}" for number in range(150)]}
    result = grade("def f(x): return min(x, 140)", problem, score="pass_rate")
    assert result.score == 141 / 150 and len(result.parts) == 100


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({}, "no field 'tests'"),
        ({"tests": []}, "must be a list with something in it"),
        ({"tests": ["assert f("]}, "is not Python"),
        ({"tests": "f(1)"}, "no assert statement"),
        ({"tests": [1]}, "must be text"),
        ({"cases": [{"input": "1"}]}, "a case is {input, output}"),
        ({"cases": [{"input": [1], "output": "1"}]}, "`input` must be text"),
        ({"cases": [{"input": "1", "output": 1}], "entry_point": "f"}, "the list of its arguments"),
        ({"test": "def check(c):\n    assert c()"}, "no field 'entry_point'"),
        ({**ADD, "solution": "def add(a, b): return 3"}, "the gold answer does not pass"),
    ],
)
def test_a_bad_problem_is_refused(problem: dict[str, Any], message: str) -> None:
    with pytest.raises(BadProblem, match=message.replace("{", r"\{")):
        check_problem([grader()], problem)


def test_the_settings_are_strict() -> None:
    with pytest.raises(ValidationError):
        CodeSettings(type="code", sandbox="off")  # type: ignore[arg-type]


# The program in a completion


def test_the_last_python_block_is_the_program() -> None:
    text = "```python\nfirst\n```\nthen\n```py\nsecond\n```\nrun\n```bash\npython x\n```"
    assert program_text(text) == "second"
    assert program_text("```\nplain\n```") == "plain"
    assert program_text("print(1)") == "print(1)"
    assert program_text("1. so\n   ```python\n   x = 1\n   if x: pass\n   ```") == "x = 1\nif x: pass"
    assert fenced_blocks("```python\ncut off") == [("python", "cut off")]


def test_a_body_and_a_whole_function() -> None:
    stub = "def f(x):\n    ''' Doc. '''\n"
    assert programs("def f(x): return 1", stub, "f")[0].startswith(stub)
    assert programs("    return 1", stub, "f")[0] == f"{stub}    return 1"
    assert programs("x", "", "f") == ["x"]


# Cheating: the program is in a process of its own, and has nothing but the arguments of the calls


CHEATS = {
    "exits with 0": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits when called": "import os\ndef add(a, b):\n    os._exit(0)",
    "exits at exit": "import atexit, os\natexit.register(os._exit, 0)",
    "raises SystemExit when called": "def add(a, b):\n    raise SystemExit(0)",
    "equals everything": "class Any:\n    def __eq__(self, other): return True\ndef add(a, b):\n    return Any()",
    "is an int that equals everything": """
        class Any(int):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            __hash__ = int.__hash__
        def add(a, b):
            return Any(7)
        """,
    "is a list that equals everything": """
        class Any(list):
            def __eq__(self, other): return True
        def add(a, b):
            return Any([7])
        """,
    "lies about its class": """
        class Any:
            __class__ = int
            def __eq__(self, other): return True
            def __index__(self): return 3
        def add(a, b):
            return Any()
        """,
    "patches builtins": """
        import builtins
        builtins.AssertionError = type("Never", (BaseException,), {})
        builtins.bool = lambda value: True
        builtins.isinstance = lambda value, kind: True
        def add(a, b):
            return None
        """,
    "replaces what tests use": "def bool(x): return True\ndef str(x): return ''\ndef add(a, b): return None",
    "prints a verdict": """
        import sys
        print('{"done": true}', flush=True)
        print('{"assert": 0, "passed": true, "note": ""}', file=sys.stderr, flush=True)
        def add(a, b):
            return None
        """,
    "writes verdicts on every descriptor": """
        import os
        lines = b"".join(b'{"assert": %d, "passed": true, "note": ""}\\n' % n for n in range(3)) + b'{"done": true}\\n'
        for descriptor in range(256):
            for data in (lines, len(lines).to_bytes(4, "big") + lines):
                try:
                    os.write(descriptor, data)
                except OSError:
                    pass
        def add(a, b):
            return None
        """,
    "floods the replies": """
        import os
        def add(a, b):
            while True:
                os.write(4, b"\\x00\\x00\\x00\\x02{}" * 1000)
        """,
    "answers with a deep message": """
        import os
        def add(a, b):
            data = b"[" * 100_000
            os.write(4, len(data).to_bytes(4, "big") + data)
            return 3
        """,
    "answers with a huge message": "def add(a, b):\n    return [0] * 50_000_000",
    "answers with more than memory": "import os\ndef add(a, b):\n    os.write(4, b'\\xff' * 4 + b'x' * 100_000)",
    "raises what no test knows": "class Stop(BaseException): pass\ndef add(a, b):\n    raise Stop",
    "says that it changed the arguments": """
        import json, os
        def add(a, b):
            data = json.dumps({"value": 3, "changed": {"0": 1, "9": [], "x": 2}}).encode()
            os.write(4, len(data).to_bytes(4, "big") + data)
            return None
        """,
    "kills its parent": """
        import os, signal
        for process in (os.getppid(), 0, -1, *range(2, 100)):
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                pass
        def add(a, b):
            return None
        """,
    "traces its neighbours": """
        import ctypes
        libc = ctypes.CDLL(None)
        for process in range(1, 100):
            libc.ptrace(16, process, 0, 0)
        def add(a, b):
            return None
        """,
    "looks for expected values": """
        import gc, os, sys
        found = []
        frame = sys._getframe()
        while frame:
            found.append(repr(frame.f_locals) + repr(frame.f_globals))
            frame = frame.f_back
        found += [repr(item) for item in gc.get_objects()]
        found += [repr(vars(module)) for module in list(sys.modules.values())]
        for descriptor in range(3, 256):
            try:
                os.lseek(descriptor, 0, 0)
                found.append(os.read(descriptor, 1_000_000).decode("utf-8", "replace"))
            except OSError:
                pass
        for path in ("/proc/self/mem", "/proc/self/environ", "/proc/self/cmdline", f"/proc/{os.getppid()}/cmdline"):
            try:
                found.append(open(path).read())
            except OSError:
                pass
        def secret():
            wanted = "hidden" + chr(45) + str(41932)
            return any(wanted in text for text in found)
        def add(a, b):
            return 3 if secret() else None
        """,
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_cheating_scores_0(cheat: str) -> None:
    problem = {**ADD, "tests": [*ADD["tests"], "assert str(add(1, 2)) + 'hidden-41932' == '3hidden-41932'"]}
    result = grade(cheat, problem, timeout_seconds=1, memory_mb=256)
    assert (result.score, result.passed, result.error) == (0.0, False, ""), result
    assert not any(part.passed for part in result.parts if "hidden" not in part.name)


def test_the_search_for_expected_values_would_find_one_that_is_there() -> None:
    """The attack above works where the value is in reach: here it is an argument's default."""
    text = textwrap.dedent(CHEATS["looks for expected values"])
    planted = 'planted = "hidden-" "41932"\n' + text
    assert grade(planted, {**ADD, "tests": ["assert add(1, 2) == 3"]}).passed


def test_an_honest_grade_after_every_cheat() -> None:
    problems = [ADD] * (len(CHEATS) + 1)
    grades = grade_all([grader(timeout_seconds=1)], [*map(textwrap.dedent, CHEATS.values()), ADD["solution"]], problems)
    assert [result.passed for result in grades] == [False] * len(CHEATS) + [True]


def test_standard_output_cheats() -> None:
    for program in (
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "print(open(0).read())",
        "import glob; print([open(name).read() for name in glob.glob('/**', recursive=True)[:1000] if 0])",
    ):
        assert not grade(program, DOUBLE).passed


# Real data


def rows_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("humaneval", 164), ("mbpp", 974)])
def test_every_reference_passes_and_none_of_another_problem(shared_data: Path, name: str, count: int) -> None:
    rows = rows_of(shared_data / "code" / f"{name}.jsonl.gz")
    code = grader(timeout_seconds=20)
    start = time.monotonic()
    grades = grade_all([code], [code.gold(row) or "" for row in rows], rows)
    print(f"{name}: {1000 * (time.monotonic() - start) / count:.1f} ms a grade")
    assert [row["task_id"] for row, result in zip(rows, grades, strict=True) if not result.passed] == []
    assert len(rows) == count
    # Wrong programs: each problem is given the function's name and nothing of what it does.
    wrong = [f"def {_function(row)}(*arguments, **keywords):\n    return None" for row in rows]
    passed = [row["task_id"] for row, r in zip(rows, grade_all([code], wrong, rows), strict=True) if r.passed]
    assert passed == []


def _function(row: dict[str, Any]) -> str:
    return row.get("entry_point") or row["test_list"][0].partition("assert")[2].strip(" (").partition("(")[0]


@pytest.mark.slow
def test_acecode_pass_rates_are_reproduced(shared_data: Path) -> None:
    """19 asserts, and 80 sampled completions with the pass rates that their data set gives."""
    row = json.loads((shared_data / "code" / "acecode_sample.jsonl").read_text(encoding="utf-8"))
    code = grader(score="pass_rate", packages=True, columns={"tests": "test_cases", "prompt": "question"})
    completions = [inference["completion"] for inference in row["inferences"]]
    grades = grade_all([code], completions, [row] * len(completions))
    rates = [inference["pass_rate"] for inference in row["inferences"]]
    assert [result.score for result in grades] == pytest.approx([float(rate) for rate in rates])
