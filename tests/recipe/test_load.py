"""Recipes: what is wrong with a bad one, where every value of a good one comes from, and the round trip."""
# ruff: noqa: E501  a message is easier to compare on one line

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.errors import UserError, UserErrors
from posttrain.graders import GRADERS
from posttrain.recipe.explain import choices
from posttrain.recipe.load import dump_recipe, load_recipe

TYPES = choices(GRADERS)
GOOD = """\
# A recipe with something in every section
stage: rlvr
out: runs/rlvr
seed: 7
model: {path: builtin:tiny, lora: {r: 8}}
data:
  train:
    - path: problems.jsonl
      columns: {prompt: question, answer: answer}
      limit: 1e3
    - {path: openai/gsm8k, subset: main, weight: 0.5}
  dev: {fraction: 0.05}
  unseen: [{path: ../other/*.csv.gz}]
train:
  learning_rate: 1e-5
  num_generations: 8
  generation_kwargs: {stop_strings: ["on", "1e5"]}
graders:
  - {type: number, weight: 2.0}
  - {type: python, path: "grade.py:score"}
eval: {every: 20, samples: 8, k: [1, 8], best_by: pass@1}
launch: {processes: 1, zero: 0, hostfile: hosts}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def errors_of(folder: Path, text: str, *, stage: str | None = None, **options) -> list[str]:
    """Return the error messages, the folder's name left out."""
    with pytest.raises(UserError) as raised:
        load_recipe(written(folder, text), stage=stage, **options)
    several = raised.value.errors if isinstance(raised.value, UserErrors) else [raised.value]
    return [str(error).replace(f"{folder}/", "") for error in several]


SFT = "stage: sft\nout: runs/a\ndata: {train: [{path: rows.jsonl}]}\n"  # three lines, to which others are added

BAD = [
    ("modle: {path: x}", "a.yaml:4 modle: unknown key. Did you mean 'model'?"),
    ("model: {pth: x}", "a.yaml:4 model.pth: unknown key. Did you mean 'path'?"),
    ("model:\n  lora:\n    rank: 4", "a.yaml:6 model.lora.rank: unknown key. Known here: r, alpha, dropout, target_modules, dora, rslora"),
    ("train:\n  learning_rat: 1e-5", "a.yaml:5 train.learning_rat: unknown key. Did you mean 'learning_rate'?"),
    ("train:\n  learning_rate: fast", 'a.yaml:5 train.learning_rate: must be a number, not "fast"'),
    ("train:\n  output_dir: x", "a.yaml:5 train.output_dir: not set here: the run directory is `out`"),
    ("train: [1]", "a.yaml:4 train: must be a mapping, not [1]"),
    ("seed: abc", 'a.yaml:4 seed: must be a whole number, not "abc"'),
    ("seed: 1.5", "a.yaml:4 seed: must be a whole number, not 1.5"),
    ("seed: -1", "a.yaml:4 seed: must be at least 0, not -1"),
    ("seed: '7'", 'a.yaml:4 seed: must be a whole number, not "7"'),
    ("out: runs/b", "a.yaml:4 out: duplicate key, first given on line 2"),
    ("model: {lora: {dora: yes}}", 'a.yaml:4 model.lora.dora: must be true or false, not "yes"'),
    ("model: {lora: {alpha: big}}", 'a.yaml:4 model.lora.alpha: must be a number, not "big"'),
    ("model: {lora: {target_modules: 3}}", "a.yaml:4 model.lora.target_modules: must be text or a list, not 3"),
    ("model: {lora: {target_modules: [q, 3]}}", "a.yaml:4 model.lora.target_modules[1]: must be text, not 3"),
    ("model: {dtype: bf16}", "a.yaml:4 model.dtype: must be 'auto', 'float32', 'bfloat16' or 'float16', not \"bf16\". Did you mean 'bfloat16'?"),
    ("model: {dtype: 16}", "a.yaml:4 model.dtype: must be 'auto', 'float32', 'bfloat16' or 'float16', not 16"),
    ("model: {revision: 12}", "a.yaml:4 model.revision: must be text, not 12"),
    ("model: x", 'a.yaml:4 model: must be a mapping, not "x"'),
    ("model: {load_in_4bit: true}", "a.yaml:4 model: load_in_4bit trains adapters on frozen weights: add `lora: {}` beside it"),
    ("model: {save: adapter}", "a.yaml:4 model: save: adapter needs `lora: {}` beside it; without adapters the whole model is saved"),
    ("eval: {k: []}", "a.yaml:4 eval.k: must be a list of at least 1, not []"),
    ("eval: {samples: 4}", "a.yaml:4 eval: pass@8 needs at least 8 samples a problem, not 4: change samples or k"),
    ("launch: {processes: many}", "a.yaml:4 launch.processes: must be a whole number or 'auto', not \"many\""),
    ("launch: {zero: 4}", "a.yaml:4 launch.zero: must be 0, 1, 2 or 3, not 4"),
    ("launch: {offload: [cpu]}", "a.yaml:4 launch.offload[0]: must be 'optimizer' or 'parameters', not \"cpu\""),
    ("launch: {offload: [parameters]}", "a.yaml:4 launch: offload: [parameters] needs zero: 3"),
    ("rollout: {temperature: .nan}", "a.yaml:4 rollout.temperature: must be a finite number, not NaN"),
    ("graders: [{type: number}]", "a.yaml:4 graders: sft grades held-out problems only: list them under data.problems"),
    ("graders: [{type: numbr}]", f"a.yaml:4 graders[0].type: must be {TYPES}, not \"numbr\". Did you mean 'number'?"),
    ("graders:\n  -\n    weight: 1", "a.yaml:6 graders[0].type: missing: " + TYPES),
    ("graders:\n  - type: number\n    weight: 0\n    tolerance: -1", "a.yaml:6 graders[0].weight: must be above 0, not 0\na.yaml:7 graders[0].tolerance: must be at least 0, not -1"),
    ("graders: [{type: number, weight: 0}]", "a.yaml:4 graders[0].weight: must be above 0, not 0"),
    ("graders: [number]", 'a.yaml:4 graders[0]: must be a mapping, not "number"'),
    ("graders: {type: number}", 'a.yaml:4 graders: must be a list, not {"type": "number"}'),
]  # fmt: skip


@pytest.mark.parametrize(("added", "message"), BAD)
def test_a_mistake_is_one_message_with_its_place(tmp_path, added, message):
    assert "\n".join(errors_of(tmp_path, SFT + added + "\n")) == message


BAD_DATA = [
    ("{trian: [{path: a.jsonl}]}", "a.yaml:3 data.trian: unknown key. Did you mean 'train'?"),
    ("{}", "a.yaml:3 data.train: missing: list at least one source, e.g. `train: [{path: rows.jsonl}]`"),
    ("{train: rows.jsonl}", 'a.yaml:3 data.train: must be a list, not "rows.jsonl"'),
    ("{train: [rows.jsonl]}", 'a.yaml:3 data.train[0]: must be a mapping, not "rows.jsonl"'),
    ("{train: [{limit: 3}]}", "a.yaml:3 data.train[0].path: missing. A file (.jsonl, .json, .csv, .tsv, .parquet; .gz too), a glob, a URL of either (s3://, gs://, hf://, https:// …), or a hub data set id."),
    ("{train: [{path: a.jsonl, limit: 0}]}", "a.yaml:3 data.train[0].limit: must be at least 1, not 0"),
    ("{train: [{path: a.jsonl, limit: 1, weight: 1}]}", "a.yaml:3 data.train[0]: give limit or weight, not both"),
    ("{train: [{path: a.jsonl}], dev: 0.1}", "a.yaml:3 data.dev: must be a mapping or a list, not 0.1"),
    ("{train: [{path: a.jsonl}], dev: {fraction: 2}}", "a.yaml:3 data.dev.fraction: must be below 1, not 2"),
    ("{train: [{path: a.jsonl}], dev: {fractoin: 0.1}}", "a.yaml:3 data.dev.fractoin: unknown key. Did you mean 'fraction'?"),
    ("{train: [{path: a.jsonl}], dev: [{pth: b.jsonl}]}", "a.yaml:3 data.dev[0].pth: unknown key. Did you mean 'path'?"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD_DATA)
def test_a_mistake_in_the_data_section(tmp_path, data, message):
    assert errors_of(tmp_path, f"stage: sft\nout: runs/a\ndata: {data}\n") == [message]


WHOLE = [
    ("", "a.yaml: the recipe is empty\n  `posttrain recipe list` shows recipes to start from"),
    ("# nothing", "a.yaml: the recipe is empty\n  `posttrain recipe list` shows recipes to start from"),
    ("- a", "a.yaml: the recipe is not a mapping of keys\n  `posttrain recipe list` shows recipes to start from"),
    ("out: x\ndata: {train: [{path: a.jsonl}]}", "a.yaml:1 stage: missing. sft, dpo, kto, rlvr or eval; must match the command."),
    ("stage: stf\nout: x\ndata: {train: [{path: a.jsonl}]}", "a.yaml:1 stage: must be 'sft', 'dpo', 'kto', 'rlvr' or 'eval', not \"stf\". Did you mean 'sft'?"),
    ("stage: sft\ndata: {train: [{path: a.jsonl}]}", "a.yaml:1 out: missing: name the run directory, e.g. `out: runs/sft`"),
    ("# one\nstage: sft\nout: x", "a.yaml:1 data: missing. The rows: what is trained on, and what is held out."),
    ("stage: rlvr\nout: x\ndata: {train: [{path: a.jsonl}]}", "a.yaml:1 graders: missing: say how a completion is judged, e.g. `graders: [{type: number}]`"),
    ("stage: eval\ngraders: [{type: number}]\ndata: {train: [{path: a.jsonl}]}", "a.yaml:3 data.dev: missing: eval needs problems; list sources under data.dev or data.unseen"),
    ("stage: eval\ngraders: [{type: number}]\ndata: {dev: [{path: a.jsonl}]}\ntrain: {seed: 1}", "a.yaml:4 train: an eval recipe has no train section: sampling is set in `rollout`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WHOLE)
def test_a_recipe_that_lacks_something(tmp_path, text, message):
    assert errors_of(tmp_path, text) == [message]


def test_every_mistake_is_found_in_one_pass_in_the_files_order(tmp_path):
    text = """\
stage: rlvr
seed: abc
seed: 4
modle: {pth: x}
data:
  trian:
    - path: rows.jsonl
      limt: 3
    - {limit: 0, path: 5}
train:
  learning_rat: 1e-5
  max_steps: lots
graders:
  - {type: number, tolerence: 4}
  - {type: mth}
eval: {evry: 3}
"""
    assert errors_of(tmp_path, text, overrides=["launch.zro=1"]) == [
        "--set launch.zro: unknown key. Did you mean 'zero'?",
        "a.yaml:1 out: missing: name the run directory, e.g. `out: runs/rlvr`",
        'a.yaml:2 seed: must be a whole number, not "abc"',
        "a.yaml:3 seed: duplicate key, first given on line 2",
        "a.yaml:4 modle: unknown key. Did you mean 'model'?",
        "a.yaml:4 model.pth: unknown key. Did you mean 'path'?",
        "a.yaml:6 data.trian: unknown key. Did you mean 'train'?",
        "a.yaml:8 data.train[0].limt: unknown key. Did you mean 'limit'?",
        "a.yaml:9 data.train[1].path: must be text, not 5",
        "a.yaml:9 data.train[1].limit: must be at least 1, not 0",
        "a.yaml:11 train.learning_rat: unknown key. Did you mean 'learning_rate'?",
        'a.yaml:12 train.max_steps: must be a whole number, not "lots"',
        "a.yaml:14 graders[0].tolerence: unknown key. Did you mean 'tolerance'?",
        f"a.yaml:15 graders[1].type: must be {TYPES}, not \"mth\". Did you mean 'math'?",
        "a.yaml:16 eval.evry: unknown key. Did you mean 'every'?",
    ]


def test_the_command_must_be_the_recipes_stage(tmp_path):
    (message,) = errors_of(tmp_path, SFT, stage="dpo")
    assert message == ("a.yaml:1 stage: this is a recipe for sft, not dpo\n  run it with `posttrain sft a.yaml`")


def test_a_recipe_that_is_not_there(tmp_path):
    written(tmp_path, SFT)
    with pytest.raises(UserError, match=r"b\.yaml: no such recipe\. Did you mean '.*a\.yaml'\?"):
        load_recipe(tmp_path / "b.yaml", stage=None)
    with pytest.raises(UserError, match="is a directory"):
        load_recipe(tmp_path, stage=None)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"stage: sft\nout: \xff")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 16\)"):
        load_recipe(tmp_path / "a.yaml", stage=None)


def test_values_paths_and_origins_of_a_good_recipe(tmp_path):
    path = written(tmp_path, GOOD)
    loaded = load_recipe(path, stage="rlvr")
    recipe = loaded.recipe
    assert (recipe.seed, recipe.model.path, recipe.model.lora.r, recipe.model.lora.alpha) == (
        7,
        "builtin:tiny",
        8,
        32,
    )
    assert [source.path for source in recipe.data.train] == [str(tmp_path / "problems.jsonl"), "openai/gsm8k"]
    assert recipe.data.unseen[0].path == str(tmp_path.parent / "other/*.csv.gz")
    assert recipe.data.train[0].limit == 1000
    assert recipe.graders[1].path == str(tmp_path / "grade.py:score")
    assert recipe.launch.hostfile == str(tmp_path / "hosts")
    assert recipe.out == "runs/rlvr"
    assert recipe.train["learning_rate"] == 1e-5
    assert loaded.path == path
    assert loaded.origins["train.learning_rate"] == f"{path}:15"
    assert loaded.origins["data.train[1].weight"] == f"{path}:11"
    assert loaded.origins["model.lora.r"] == f"{path}:5"
    assert loaded.origins["model.lora.alpha"] == "default"
    assert loaded.origins["rollout.temperature"] == "default"
    assert loaded.place("data.train[0].path") == f"{path}:8 data.train[0].path"
    assert loaded.place("data.train[0].split") == f"{path}:8 data.train[0].split"
    assert loaded.place("rollout.engine") == f"{path}:1 rollout.engine"


def test_an_empty_section_is_no_section(tmp_path):
    recipe = load_recipe(written(tmp_path, SFT + "train:\nmodel:\n  # path: x\n"), stage=None).recipe
    assert (recipe.train, recipe.model.path) == ({}, "builtin:tiny")


def test_set_changes_any_key(tmp_path):
    overrides = [
        "train.learning_rate=2e-6",
        "data.train.0.limit=5",
        "graders[0].weight=3",
        "eval.k=[1, 2]",
        "model.lora=null",
        "rollout.temperature=0.5",
        "data.dev={fraction: 0.5}",
        "launch.hostfile=near/hosts",
        "data.unseen=[{path: u.jsonl}]",
    ]
    path = written(tmp_path, GOOD)
    loaded = load_recipe(path, stage=None, overrides=overrides, model="-x/y", out="o", seed=0)
    recipe = loaded.recipe
    assert recipe.train["learning_rate"] == 2e-6
    assert recipe.data.train[0].limit == 5
    assert recipe.graders[0].weight == 3
    assert recipe.eval.k == [1, 2]
    assert recipe.model.lora is None
    assert recipe.rollout.temperature == 0.5
    assert recipe.data.dev.fraction == 0.5
    assert (recipe.model.path, recipe.out, recipe.seed) == ("-x/y", "o", 0)
    assert recipe.launch.hostfile == os.path.abspath("near/hosts")
    assert recipe.data.unseen[0].path == os.path.abspath("u.jsonl")
    assert loaded.origins["train.learning_rate"] == loaded.origins["eval.k[1]"] == "--set"
    assert loaded.origins["data.train[0].path"] == f"{path}:8"
    assert (loaded.origins["model.path"], loaded.origins["out"], loaded.origins["seed"]) == (
        "--model",
        "--out",
        "--seed",
    )
    assert loaded.place("model.path") == "--model"
    assert loaded.place("eval.k[1]") == "--set eval.k[1]"
    assert loaded.place("data.unseen[0].path") == "--set data.unseen[0].path"


def test_set_makes_the_sections_on_the_way(tmp_path):
    recipe = load_recipe(written(tmp_path, SFT), stage=None, overrides=["model.lora.r=4"], model="m").recipe
    assert (recipe.model.lora.r, recipe.model.path) == (4, "m")


BAD_SETS = [
    ("seed", "--set seed: not of the form key=value\n  for example --set train.learning_rate=1e-5"),
    ("seed=x", '--set seed: must be a whole number, not "x"'),
    ("sed=1", "--set sed: unknown key. Did you mean 'seed'?"),
    ("train.learning_rat=1", "--set train.learning_rat: unknown key. Did you mean 'learning_rate'?"),
    (
        "data.train[1].limit=3",
        "--set data.train[1].limit: data.train has 1 entry; the first is data.train[0]",
    ),
    (
        "data.train.limit=3",
        "--set data.train.limit: data.train is a list\n  name the entry, e.g. data.train[0].limit",
    ),
    ("out.x=3", "--set out.x: out is 'runs/a' and has no keys"),
    ("eval.k[0]=3", "--set eval.k[0]: eval.k is not a list\n  set the whole of it: --set 'eval.k=[…]'"),
    (
        "eval.k=[1",
        "--set eval.k:1: not valid YAML: expected ',' or ']', but got '<stream end>'\n  1 | [1\n    |   ^",
    ),
    ("model={path: a, path: b}", "--set model: duplicate key 'path'"),
]


@pytest.mark.parametrize(("override", "message"), BAD_SETS)
def test_set_goes_by_the_same_rules(tmp_path, override, message):
    assert errors_of(tmp_path, SFT, overrides=[override]) == [message]


@pytest.mark.parametrize("text", [GOOD, SFT, SFT + "train: {max_length: null, optim_args: 'on', weight_decay: 1e-30}"])
def test_the_resolved_recipe_reads_back_as_the_same(tmp_path, text):
    first = load_recipe(written(tmp_path, text), stage=None).recipe
    (tmp_path / "far").mkdir()
    resolved = tmp_path / "far" / "recipe.yaml"
    resolved.write_text(dump_recipe(first), encoding="utf-8")
    second = load_recipe(resolved, stage=None).recipe
    assert second == first
    assert dump_recipe(second) == dump_recipe(first)
    assert [type(value) for value in second.train.values()] == [type(value) for value in first.train.values()]


HUB_OR_FILE = [
    ("openai/gsm8k", False),
    ("data/rows.txt", False),
    ("rows.jsonl", True),
    ("owner/rows.JSON.gz", True),
    ("./owner/name", True),
    ("/abs/rows", True),
    ("a/b/c", True),
    ("parts/*", True),
    ("here/name", True),
    ("rows", True),
]


@pytest.mark.parametrize(("path", "local"), HUB_OR_FILE)
def test_what_is_a_file_and_what_a_hub_id(tmp_path, path, local):
    (tmp_path / "here").mkdir()
    text = SFT.replace("rows.jsonl", f"'{path}'")
    found = load_recipe(written(tmp_path, text), stage=None).recipe.data.train[0].path
    assert found == (os.path.normpath(tmp_path / path) if local else path)


def test_reading_a_recipe_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from pathlib import Path; from posttrain.recipe.load import load_recipe; "
        "load_recipe(Path(sys.argv[1]), stage='rlvr'); "
        "print([m for m in ('torch', 'transformers', 'trl', 'datasets', 'deepspeed') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(written(tmp_path, GOOD))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
