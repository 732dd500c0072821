# ruff: noqa: E501  (tables of texts)
"""Recipes broken by the thousand: each gives a message and exit code 2, or a valid plan, soon and in little memory.

    python tests/faults/recipes.py --count 10000 --seed 0            # in this process, by what the commands call
    python tests/faults/recipes.py --count 300 --seed 1 --commands   # each by a process of its own

Nothing that a recipe holds may run: the texts among them that try would make a file, which is looked for at the end.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

REPOSITORY = Path(__file__).parents[2]
CANARY = "canary"  # what a payload would make, in the working directory
MOST_SECONDS = 1.0  # of processor time, a recipe
MOST_GROWTH = 300  # MB, of all of them together

_PYTHON = f"__import__('os').system('touch {CANARY}')"
TEXTS = [
    "", " ", "\n", "x", "X" * 100_000, "é", "ß" * 300, "\u202egnp.exe", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x00",
    "\x7f\x9b", "\ud800", "\U0001f4a9", "\ufeff", "\u2028", "[red]bold[/red]", "<script>alert(1)</script>",
    "null", "true", "1", "1e5", "0x10", "NaN", "2026-01-01", "~", "-", "- a", "a: b", "#", "%", "@", "`", "*a", "&a", "!a",
    "../../../../etc/passwd", "/etc/passwd", "/etc", "/", "/dev/null", "/proc/self/environ", "~root/x", "a/b", "a/b/c/d",
    "a\x00b", "file:///etc/passwd", "http://127.0.0.1:9/x.jsonl", "s3://b/k.jsonl", "hf://datasets/a/b.jsonl", "*.jsonl",
    "**/*.jsonl", "[", "(", "(a+)+$", "(?P<x>", "(" * 1000, "a{99999999}", "{prompt}", "{0.__class__}", "{", "%s%n", "{{ 7 * 7 }}",
    "{% for x in range(999999999) %}{% endfor %}", f"{{{{ cycler.__init__.__globals__.os.popen('touch {CANARY}') }}}}",
    _PYTHON, f"$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY}", f"| touch {CANARY}", "builtin:tiny", "builtin:x",
    "builtin:../../x", "all-linear", "auto", "sft", "dpo", "rlvr", "eval", "number", "python", "data/sft.jsonl",
    "data/problems.jsonl", "data", "sft.yaml", "x.gguf",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 7, 8, 2**31, 2**32, -(2**31), 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.0, -0.0, 0.5, 1.0,
    1.5, -0.5, 1e-5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 1e300, 99999,
]  # fmt: skip
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [{}], [None], [1], ["x"], {"x": 1}, {"": 1}, {"type": "number"},
                     {"fraction": 0.1}, [{"path": "data/sft.jsonl"}], [{"type": "string"}]]  # fmt: skip
KEYS = ["", "x", "Stage", "stage ", "é", "\u202e", "\x1b[31m", "a.b", "a[0]", "0", "__class__", "model_config", "copy", "type",
        "path", "null", "K" * 5000, "learning_rte", "<<"]  # fmt: skip

# What shipped recipes do not show: the graders, each way to ask, mixtures, adapters, processes.
_SUM = {"path": "data/problems.jsonl", "limit": 20}
_GRADERS: list[dict[str, Any]] = [
    {"type": "number", "weight": 0.5, "name": "n"}, {"type": "string", "role": "score"}, {"type": "math"},
    {"type": "choice"}, {"type": "instruction", "mode": "strict"}, {"type": "pattern", "pattern": "####"},
    {"type": "length"}, {"type": "repetition"}, {"type": "json"}, {"type": "verifier"}, {"type": "code"},
    {"type": "python", "path": "grader.py:grade"},
    {"type": "string_check", "name": "s", "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}",
     "operation": "eq"},
    {"type": "text_similarity", "name": "t", "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}",
     "evaluation_metric": "bleu", "pass_threshold": 0.5},
    {"type": "multi", "graders": {"a": {"type": "number"}, "b": {"type": "length"}}, "calculate_output": "0.5 * a + b"},
    {"type": "score_model", "name": "j", "model": "m", "base_url": "http://127.0.0.1:9/v1", "range": [0, 1],
     "pass_threshold": 0.5, "input": [{"role": "user", "content": "{{ sample.output_text }}"}]},
    {"type": "label_model", "name": "l", "model": "m", "labels": ["good", "bad"], "passing_labels": ["good"],
     "input": [{"role": "user", "content": "{{ sample.output_text }}"}]},
]  # fmt: skip
MORE: list[dict[str, Any]] = [
    *({"stage": "rlvr", "out": "runs/r", "data": {"train": [_SUM]}, "graders": [grader],
       "train": {"max_steps": 2, "num_generations": 4}} for grader in _GRADERS),
    {"stage": "sft", "out": "runs/s", "model": {"path": "builtin:tiny", "dtype": "auto", "lora": {"r": 8, "alpha": 16},
     "save": "merged"}, "data": {"train": [{"path": "data/sft.jsonl", "share": 0.5, "columns": {"messages": "messages"}},
     {"path": "data/sft.jsonl", "share": 0.5, "limit": 30}], "mix": {"rows": 40, "repeat": True},
     "dev": {"fraction": 0.1, "by": "id"}, "system": {"text": "Be brief.", "replace": True}, "trained_turns": "last",
     "bad_rows": "skip", "too_long": "drop"}, "train": {"max_steps": 2, "packing": False, "warmup_steps": 0.1},
     "launch": {"processes": 2, "zero": 2, "offload": ["optimizer"]}, "eval": {"every": 1, "best_by": "loss", "patience": 2}},
    {"stage": "eval", "data": {"unseen": [_SUM]}, "graders": [{"type": "number"}], "rollout": {"stop": ["x"],
     "temperature": 0.7, "max_grader_errors": 0.1}, "eval": {"samples": 2, "k": [1, 2], "group_by": "answer",
     "prompts": [{"name": "shown", "template": "Q: {prompt}", "shots": [{"path": "data/sft.jsonl", "limit": 2}]}],
     "require": {"pass@1": {"at_least": 0.1, "gain_above": 0}}}},
    {"stage": "rlvr", "out": "runs/r", "data": {"train": [_SUM], "dev": [_SUM]}, "graders": [{"type": "number"}],
     "rollout": {"engine": "vllm-server", "url": "http://127.0.0.1:9", "dynamic_sampling": True, "max_refills": 3,
     "retire": {"looks": 2, "steps": 5}}, "signal": {"problems": 4}, "launch": {"hostfile": "hosts.txt"}},
]  # fmt: skip


ROWS = {"sft": "sft", "dpo": "preferences", "kto": "feedback", "rlvr": "problems", "eval": "dev"}
"""The rows that recipes of a stage are given here."""


class Broken(NamedTuple):
    """A recipe file, and how it was made."""

    name: str
    content: bytes


class Outcome(NamedTuple):
    """What became of one: `said` is the message of a refusal, or an empty text; `wrong` is what must not be."""

    seconds: float
    said: str
    wrong: str


def shipped() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text("utf-8")) for path in sorted((REPOSITORY / "recipes").glob("*/*.yaml"))]


def broken_recipes(seed: int) -> Iterator[Broken]:
    """Yield broken recipes without end, the same ones for the same seed; the hostile ones come first."""
    yield from hostile()
    rng = random.Random(seed)
    seeds = [*shipped(), *MORE]
    for recipe in seeds[: -len(MORE)]:  # with a parent and rows that are there, more can be found wrong
        recipe["model"]["path"] = "builtin:tiny"
        for part in ("train", "dev", "unseen"):
            for source in recipe["data"].get(part, []):
                if isinstance(source, dict):
                    source["path"] = f"data/{ROWS[recipe['stage']]}.jsonl"
    while True:
        recipe, made = copy.deepcopy(rng.choice(seeds)), []
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            change = rng.choice(TREE_CHANGES)
            made.append(change.__name__)
            recipe = change(rng, recipe)
        content = as_yaml(rng, recipe)
        for _ in range(rng.choice([0] * 8 + [1, 2]) if made else 1):
            text_change = rng.choice(TEXT_CHANGES)
            made.append(text_change.__name__)
            content = text_change(rng, content)
        yield Broken(" ".join(made), content)


def as_yaml(rng: random.Random, recipe: Any) -> bytes:
    """The recipe as a file: in blocks, or all in braces."""
    text = yaml.dump(recipe, sort_keys=False, allow_unicode=rng.random() < 0.5, default_flow_style=rng.random() < 0.1)
    return text.encode("utf-8", "surrogatepass")


def places(data: Any, loc: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values in it, itself included."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [loc, *(place for key, value in inner for place in places(value, (*loc, key)))]


def at(data: Any, loc: tuple[Any, ...]) -> Any:
    for part in loc:
        data = data[part]
    return data


def any_value(rng: random.Random) -> Any:
    kind = rng.randrange(5)
    if kind == 0:
        deep: Any = rng.choice([1, "x", None])
        for _ in range(rng.choice([2, 5, 60])):
            deep = [deep] if rng.random() < 0.5 else {rng.choice(KEYS): deep}
        return deep
    return copy.deepcopy(rng.choice([TEXTS, NUMBERS, NUMBERS, OTHERS][kind - 1]))


def put(data: Any, loc: tuple[Any, ...], value: Any) -> Any:
    if not loc:
        return value
    at(data, loc[:-1])[loc[-1]] = value
    return data


def drop(rng: random.Random, recipe: Any) -> Any:
    if loc := rng.choice(places(recipe)):
        del at(recipe, loc[:-1])[loc[-1]]
    return recipe


def retype(rng: random.Random, recipe: Any) -> Any:
    return put(recipe, rng.choice(places(recipe)), any_value(rng))


def retype_leaf(rng: random.Random, recipe: Any) -> Any:
    leaves = [loc for loc in places(recipe) if not isinstance(at(recipe, loc), dict | list)]
    return put(recipe, rng.choice(leaves), any_value(rng)) if leaves else recipe


def rename(rng: random.Random, recipe: Any) -> Any:
    named = [loc for loc in places(recipe) if loc and isinstance(loc[-1], str)]
    if named:
        loc = rng.choice(named)
        holder, name = at(recipe, loc[:-1]), str(loc[-1])
        cut = rng.randrange(len(name) + 1)
        new = rng.choice(
            [*KEYS, name[:cut] + name[cut + 1 :], name[:cut] + rng.choice("abz_é") + name[cut:], name.upper()]
        )
        holder[new] = holder.pop(loc[-1])
    return recipe


def swap(rng: random.Random, recipe: Any) -> Any:
    one, other = rng.choice(places(recipe)), rng.choice(places(recipe))
    if one[: len(other)] == other or other[: len(one)] == one:
        return recipe
    first, second = at(recipe, one), at(recipe, other)
    return put(put(recipe, one, second), other, first)


def wrap(rng: random.Random, recipe: Any) -> Any:
    loc = rng.choice(places(recipe))
    value = at(recipe, loc)
    return put(recipe, loc, rng.choice([[value], {rng.choice(KEYS): value}, [value, value], str(value)]))


def unwrap(rng: random.Random, recipe: Any) -> Any:
    nested = [loc for loc in places(recipe) if isinstance(at(recipe, loc), dict | list) and at(recipe, loc)]
    if not nested:
        return recipe
    loc = rng.choice(nested)
    inside = at(recipe, loc)
    return put(recipe, loc, rng.choice(list(inside.values()) if isinstance(inside, dict) else inside))


def add_key(rng: random.Random, recipe: Any) -> Any:
    maps = [loc for loc in places(recipe) if isinstance(at(recipe, loc), dict)]
    if maps:
        at(recipe, rng.choice(maps))[rng.choice([*KEYS, *_known_keys()])] = any_value(rng)
    return recipe


def repeat(rng: random.Random, recipe: Any) -> Any:
    lists = [loc for loc in places(recipe) if isinstance(at(recipe, loc), list)]
    if not lists:
        return recipe
    loc = rng.choice(lists)
    times = rng.choice([2, 3, 500])
    if any(isinstance(each, dict) for each in at(recipe, loc)):
        times = min(times, 3)  # of sources: what the rows cost is another matter
    return put(recipe, loc, [copy.deepcopy(each) for each in at(recipe, loc) * times][:500])


def graft(rng: random.Random, recipe: Any) -> Any:
    """A part of another recipe in place of one here."""
    other = copy.deepcopy(rng.choice([*shipped(), *MORE]))
    return put(recipe, rng.choice(places(recipe)), at(other, rng.choice(places(other))))


def _known_keys() -> list[str]:
    return sorted({str(part) for recipe in (*shipped(), *MORE) for loc in places(recipe) for part in loc[-1:]})


TREE_CHANGES = [drop, retype, retype_leaf, retype_leaf, rename, swap, wrap, unwrap, add_key, repeat, graft]


def cut_bytes(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice([1, 2, 10, 10**6]) :]


def flip_bytes(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 3, 30])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def insert_bytes(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.choice(SNIPPETS) + content[start:]


def repeat_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    for _ in range(rng.choice([1, 1, 100])):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines or [b"\n"]))
    return b"".join(lines)


def indent_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    if lines:
        index = rng.randrange(len(lines))
        lines[index] = rng.choice([b" ", b"   ", b"\t", b"- ", b"? ", b": "]) + lines[index]
    return b"".join(lines)


def recode(rng: random.Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    return rng.choice(
        [
            text.encode("utf-16"), b"\xef\xbb\xbf" + content, text.replace("\n", "\r\n").encode(), content.replace(b":", b"="),
            text.replace("\n", "\u2028").encode(), content.replace(b"  ", b"\t"), content + b"\n---\n" + content,
            text.replace("\n", "\n\n\n").encode(), content.upper(), content.replace(b": ", b":"), b"\x00".join([content, content]),
        ]
    )  # fmt: skip


SNIPPETS = [
    b"!!python/object/apply:os.system ['touch canary']", b"!!python/name:os.system ", b"!!binary aGk=", b"!x ", b"&a ", b"*a", b"<<: ",
    b"---\n", b"...\n", b"%YAML 1.1\n---\n", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\t", b"\r", b'"', b"'", b"{", b"}",
    b"[", b"]", b"? ", b": ", b"- ", b"| ", b">-\n", b"# ", b"\\", b",", b"0" * 5000, b"9" * 5000, b"\xc2\x85", b"\xe2\x80\xa8", b"1e9",
    b"[" * 300, b"{a: " * 300, b"- " * 300, b"\n  x: 1\n", b"\nstage: sft\n", b"\xf0\x9f\x92\xa9",
]  # fmt: skip
TEXT_CHANGES = [cut_bytes, flip_bytes, insert_bytes, insert_bytes, repeat_line, indent_line, recode]


def hostile() -> Iterator[Broken]:
    """Yield files that are made to break a YAML reader, or to make it do something."""
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    merges = "a: &a {x: 1}\n" + "".join(f"m{n}: &m{n}\n  <<: [*a, *a]\n  y{n}: 1\n" for n in range(200))
    valid = as_yaml(random.Random(0), MORE[0]).decode()
    texts = {
        "alias bomb": laughs, "merge bomb": merges, "cycle": "a: &a [*a]\n", "cycle of maps": "&a a: *a\n", "anchor": "&a stage: sft",
        "apply": "stage: !!python/object/apply:os.system ['touch canary']\n",
        "new": "!!python/object/new:os.system ['touch canary']\n",
        "module": "!!python/module:this\n", "tuple": "out: !!python/tuple [1]\n", "set": "out: !!set {a}\n",
        "yaml 9": "%YAML 9.9\n---\nstage: sft\n", "tag directive": "%TAG ! tag:yaml.org,2002:python/\n---\nstage: !name:os.system\n",
        "deep lists": "a: " + "[" * 100_000, "closed deep lists": "a: " + "[" * 5000 + "]" * 5000, "deep maps": "{a: " * 100_000,
        "deep dashes": "- " * 50_000, "deep blocks": "".join(" " * n + "a:\n" for n in range(500)), "question marks": "? " * 50_000,
        "deep within sense": "train: " + "[" * 60 + "]" * 60 + "\n" + valid, "huge integer": "seed: " + "9" * 1_000_000,
        "long integer": valid + "seed: " + "9" * 4301 + "\n", "hexadecimal": valid + "seed: 0x" + "f" * 100_000 + "\n",
        "octal": "seed: 0o" + "7" * 100_000, "huge float": valid + "seed: 1e999999999\n", "long float": "seed: 0." + "1" * 1_000_000,
        "not a number": valid + "seed: .nan\n", "infinite": "train: {learning_rate: -.inf}\n" + valid,
        "large text": "out: " + "x" * 900_000, "larger text": "out: " + "x" * 5_000_000, "long key": "x" * 900_000 + ": 1\n",
        "many keys": "".join(f"k{n}: 1\n" for n in range(40_000)), "one key often": "k: 1\n" * 100_000,
        "long list": "out: [" + "1," * 400_000 + "]", "many entries": valid + "eval: {k: [" + "1," * 15_000 + "1]}\n",
        "many graders": "stage: rlvr\nout: x\ndata: {train: [{path: data/problems.jsonl}]}\ngraders:\n" + "- {type: number}\n" * 3000,
        "many sources": "stage: sft\nout: x\ndata:\n  train:\n" + "  - {path: nowhere.jsonl}\n" * 3000,
        "many wrong keys": "stage: sft\nout: x\ntrain:\n" + "".join(f"  learning_rat{n}: 1\n" for n in range(3000)),
        "many wrong sections": "".join(f"trai{n}: 1\n" for n in range(3000)),
        "many documents": "---\nstage: sft\n" * 10_000, "dots": "...\n" * 10_000, "comment": "#" * 900_000, "newlines": "\n" * 900_000,
        "spaces": " " * 900_000, "tabs": "\t" * 1000, "tab": "stage:\n\tsft\n", "nothing": "", "null": "null", "text": "sft", "list": "- sft",
        "nul": "stage: s\0ft", "escape": "stage: \x1b[31m", "escaped escape": 'stage: "\\e[31m\\x9b"', "next line": "stage:\x85sft",
        "surrogate": 'out: "\\ud800"\n' + valid.replace("out: runs/r\n", ""), "complex key": "? [a, b]\n: 1\n", "map as key": "{{a: 1}: 2}: 3",
        "unclosed": 'stage: "sft', "block": "stage: |\n" + "  x\n" * 100_000, "folded": "stage: >\n" + "  x\n" * 100_000,
        "a million quotes": "stage: '" + "''" * 400_000, "escapes": 'stage: "' + "\\x41" * 200_000 + '"',
        "bad escape": 'stage: "\\xzz"', "colons": ":" * 100_000, "dashes": "-" * 900_000, "flow in flow": "{" * 2000 + "a" + "}" * 2000,
        "commas": "[" + "," * 100_000 + "]", "directives": "%a b\n" * 100_000, "class": "__class__: 1\n__init__: 2\nmodel_config: 3\n" + valid,
        "digits of others": valid + "seed: \u0661\u0662\n", "expression": valid + "seed: 1+1\n",
    }  # fmt: skip
    for name, text in texts.items():
        yield Broken(name, text.encode("utf-8", "surrogatepass"))
    yield Broken("byte order mark", b"\xef\xbb\xbf" + valid.encode())
    yield Broken("two byte order marks", b"\xef\xbb\xbf" * 2 + valid.encode())
    yield Broken("utf-16", valid.encode("utf-16"))
    yield Broken("utf-32", valid.encode("utf-32"))
    yield Broken("random bytes", random.Random(0).randbytes(100_000))
    yield Broken("gzip", b"\x1f\x8b\x08" + bytes(1000))
    yield Broken("half a character", valid.encode() + b"\xe2\x82")


@contextmanager
def workplace() -> Iterator[Path]:
    """Work in a folder of its own that has some rows of the shipped recipes, offline, without GPUs."""
    with tempfile.TemporaryDirectory() as made:
        place, before = Path(made), Path.cwd()
        (place / "data").mkdir()
        for file in (REPOSITORY / "recipes" / "quickstart" / "data").glob("*.jsonl"):
            rows = file.read_text("utf-8").splitlines(keepends=True)
            (place / "data" / file.name).write_text("".join(rows[:60]), "utf-8")  # what rows cost is another matter
        (place / "grader.py").write_text("def grade(sample, item):\n    return 1.0\n")
        (place / "hosts.txt").write_text("localhost slots=2\n")
        kept = dict(os.environ)
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "POSTTRAIN_CACHE": str(place / "cache")}
        os.environ.pop("OPENAI_API_KEY", None)
        os.chdir(place)
        try:
            yield place
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(kept)


def outcome(broken: Broken, place: Path) -> Outcome:
    """Take one recipe as far as the commands go before anything is loaded."""
    from posttrain.errors import UserError

    path = place / "recipe.yaml"
    path.write_bytes(broken.content)
    started, said, wrong = _processor_seconds(), "", ""
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGPROF, _too_long)
    signal.alarm(300)
    signal.setitimer(signal.ITIMER_PROF, 15)
    try:
        _plan(path)
    except UserError as error:
        said = str(error)
        wrong = _bad_message(said)
    except BaseException as error:
        wrong = f"{type(error).__name__}: {error}"[:500]
        if isinstance(error, KeyboardInterrupt):
            raise
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = _processor_seconds() - started
    return Outcome(seconds, said, wrong or (f"{seconds:.1f} s" if seconds > MOST_SECONDS else ""))


def _plan(path: Path) -> None:
    """Raise UserError, or AssertionError where the recipe is taken and is none."""
    from posttrain.launch.plan import make_plan
    from posttrain.recipe.check import check_recipe
    from posttrain.recipe.load import dump_recipe, load_recipe

    check_recipe(path)
    loaded = load_recipe(path, stage=None)
    plan = make_plan(loaded.recipe.launch, Path(str(loaded.recipe.out)), environ={}, place=loaded.place, gpus=0)
    assert plan.world_size >= 1
    again = path.with_name("resolved.yaml")
    again.write_text(dump_recipe(loaded.recipe), encoding="utf-8")
    assert load_recipe(again, stage=loaded.recipe.stage).recipe == loaded.recipe, "the resolved recipe is another one"


def _bad_message(said: str) -> str:
    """Return what is wrong with a message: it must be short, and nothing in it may be obeyed by a terminal."""
    if not said.strip():
        return "says nothing"
    if len(said) > 20_000:
        return f"a message of {len(said):,} characters: {said[:200]}"
    # What a message quotes is made plain where it is printed; here only that it can be.
    return ""


def outcome_of_command(broken: Broken, place: Path) -> Outcome:
    """Take one recipe through the command line, in a process of its own."""
    path = place / "recipe.yaml"
    path.write_bytes(broken.content)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "posttrain", "check", "recipe.yaml"]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return Outcome(60, "", "did not end within 60 s")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = done.stderr.decode("utf-8", "replace")
    wrong = ""
    if done.returncode not in (0, 2):
        wrong = f"exit code {done.returncode}: {said[-500:]}"
    elif "Traceback" in said:
        wrong = f"a traceback: {said[-500:]}"
    elif done.returncode == 2 and "error: " not in said:
        wrong = f"no message: {said[:200]}"
    elif any(
        (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067"
        for c in said
    ):
        wrong = f"control characters in the message: {said[:300]!r}"
    return Outcome(seconds, said if done.returncode == 2 else "", wrong)


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError("did not end in time")


def resident() -> int:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", action="store_true", help="by the command line, a process each")
    parser.add_argument("--keep", type=Path, help="a folder for the recipes that went wrong")
    options = parser.parse_args()
    seconds: list[float] = []
    counts: Counter[str] = Counter()
    wrongs: Counter[str] = Counter()
    with workplace() as place:
        recipes = broken_recipes(options.seed)
        if options.commands:  # not only the hostile ones
            every = [next(recipes) for _ in range(len(list(hostile())) * 10)]
            recipes = iter(random.Random(options.seed).sample(every, min(options.count, len(every))))
        outcome(Broken("", as_yaml(random.Random(0), MORE[0])), place)  # what is imported once does not count
        at_first = resident()
        for number, broken in enumerate(recipes):
            if number == options.count:
                break
            found = outcome_of_command(broken, place) if options.commands else outcome(broken, place)
            seconds.append(found.seconds)
            if len(seconds) % 250 == 0:
                print(f"{len(seconds):,} recipes, {sum(seconds):,.0f} s of processor time", file=sys.stderr)
            counts["went wrong" if found.wrong else "refused" if found.said else "planned"] += 1
            if found.wrong:
                wrongs[found.wrong[:60]] += 1
                if wrongs[found.wrong[:60]] <= 3:
                    print(f"{number} {broken.name[:60]}: {found.wrong}", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}-{number}.yaml").write_bytes(broken.content)
        ran = (place / CANARY).exists()
        growth = resident() - at_first
    listed = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
    print(f"{len(seconds):,} recipes, seed {options.seed}: {listed}; {'CODE RAN' if ran else 'no code ran'}")
    ordered = sorted(seconds)
    print(
        f"processor seconds: median {ordered[len(ordered) // 2]:.3f}, most {ordered[-1]:.3f}; memory {resident()} MB, "
        f"{growth} more than after the first"
    )
    for wrong, count in wrongs.most_common(40):
        print(f"{count:6}  {wrong}")
    return int(bool(wrongs) or ran or growth > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
