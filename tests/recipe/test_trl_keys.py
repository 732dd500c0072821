"""TRL's keys, read from its source, are TRL's keys."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from posttrain.recipe.train_keys import ELSEWHERE, REFUSED, allowed_keys, check_train
from posttrain.recipe.trl_keys import trl_keys
from posttrain.recipe.yaml_lines import dotted

STAGES = ("sft", "dpo", "kto", "rlvr")


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_names_and_defaults_are_those_of_the_dataclass(stage):
    import trl

    config = {"sft": trl.SFTConfig, "dpo": trl.DPOConfig, "kto": trl.KTOConfig, "rlvr": trl.GRPOConfig}[stage]
    fields = {field.name: field for field in dataclasses.fields(config)}
    keys = trl_keys(stage)
    assert list(keys) == list(fields)
    for name, key in keys.items():
        if key.default is not None:
            made = fields[name].default_factory
            assert key.default == (fields[name].default if made is dataclasses.MISSING else made())


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_every_default_is_of_a_type_that_the_key_takes(stage):
    """The types read from the annotations accept what TRL itself sets."""
    keys = {
        name: key.default for name, key in trl_keys(stage).items() if key.default is not None and name not in REFUSED
    }
    keys = {name: value for name, value in keys.items() if not name.startswith("vllm_")}
    assert len(keys) > 50
    assert check_train(keys, stage, dotted) == []


def test_every_refused_key_is_a_key_of_trl_and_no_name_from_elsewhere_is():
    known = set().union(*(trl_keys(stage) for stage in STAGES))
    assert set(REFUSED) <= known
    assert not set(ELSEWHERE) & known


def test_refused_keys_are_not_allowed_and_the_others_are():
    allowed = allowed_keys("rlvr")
    assert not any(name in allowed for name in (*REFUSED, "vllm_mode"))
    assert {"learning_rate", "num_generations", "max_completion_length", "beta", "lr_scheduler_type"} <= set(allowed)


PROBLEMS = [
    ("sft", "learning_rat", 1e-5, "unknown key. Did you mean 'learning_rate'?"),
    ("sft", "zzz", 1, "unknown key: `train` takes the keys of TRL's config"),
    ("sft", "beta", 0.1, "unknown key: TRL has it for dpo, kto, rlvr, not for sft"),
    ("sft", "max_seq_length", 9, "unknown key: TRL's name is `max_length`"),
    (
        "sft",
        "warmup_ratio",
        0.1,
        "unknown key: `warmup_steps` below 1 is a share of the steps: `warmup_steps: 0.1`",
    ),
    ("dpo", "output_dir", "x", "not set here: the run directory is `out`"),
    (
        "rlvr",
        "reward_weights",
        [1],
        "not set here: a grader's weight stands beside it: `graders: [{type: …, weight: 0.5}]`",
    ),
    ("rlvr", "vllm_mode", "server", "not set here: what samples the completions is `rollout.engine`"),
    ("sft", "learning_rate", "fast", 'must be a number, not "fast"'),
    ("sft", "learning_rate", "1e-5", 'must be a number, not "1e-5"'),
    ("sft", "learning_rate", True, "must be a number, not true"),
    ("sft", "max_steps", 1.5, "must be a whole number, not 1.5"),
    ("sft", "gradient_checkpointing", "on", 'must be true or false, not "on"'),
    ("sft", "max_length", "long", 'must be a whole number, not "long"'),
    ("sft", "loss_type", "nl", "must be 'nll', 'dft' or 'chunked_nll', not \"nl\". Did you mean 'nll'?"),
    (
        "sft",
        "logging_strategy",
        "step",
        "must be 'no', 'steps' or 'epoch', not \"step\". Did you mean 'steps'?",
    ),
    ("sft", "report_to", [1], "must be text or a list of texts, not [1]"),
    ("sft", "lr_scheduler_kwargs", 3, "must be a mapping or text, not 3"),
    (
        "sft",
        "truncation_mode",
        "keep_end",
        "not set here: what becomes of long rows is `data.too_long`: keep_start, keep_end, drop or split",
    ),
    ("sft", "packing_strategy", "bfd_split", '"bfd_split" is not taken: long rows are split by `data.too_long: split`'),
    (
        "sft",
        "packing_strategy",
        "wrapped",
        '"wrapped" is not taken: it cuts rows anywhere and lets each see the one before; leave it out: bfd keeps rows '
        "whole",
    ),
    ("dpo", "packing", True, "unknown key: TRL has it for sft, not for dpo"),
    ("dpo", "loss_weights", ["a"], 'must be a list of numbers, not ["a"]'),
]


@pytest.mark.parametrize(("stage", "key", "value", "message"), PROBLEMS)
def test_what_is_wrong_with_a_key_is_said(stage, key, value, message):
    (error,) = check_train({key: value}, stage, dotted)
    assert str(error) == f"train.{key}: {message}"


GOOD = [
    ("sft", "learning_rate", 1),
    ("sft", "max_length", None),
    ("sft", "num_train_epochs", 3),
    ("sft", "lr_scheduler_type", "cosine"),
    ("sft", "lr_scheduler_kwargs", {"num_cycles": 1}),
    ("sft", "report_to", ["tensorboard"]),
    ("sft", "packing", True),
    ("sft", "packing_strategy", "bfd"),
    ("dpo", "train_sampling_strategy", "group_by_length"),
    ("kto", "pad_to_multiple_of", 8),
    ("dpo", "loss_type", "sigmoid"),
    ("dpo", "loss_type", ["sigmoid", "bco_pair"]),
    ("rlvr", "scale_rewards", False),
    ("rlvr", "scale_rewards", "batch"),
    ("rlvr", "epsilon_high", 0.28),
]


@pytest.mark.parametrize(("stage", "key", "value"), GOOD)
def test_what_trl_takes_is_taken(stage, key, value):
    assert check_train({key: value}, stage, dotted) == []


def test_an_eval_recipe_has_no_train_section():
    (error,) = check_train({"learning_rate": 1}, "eval", dotted)
    assert str(error) == "train: an eval recipe has no train section: sampling is set in `rollout`"


def test_reading_the_keys_imports_neither_trl_nor_torch():
    code = (
        "import sys; from posttrain.recipe.trl_keys import trl_keys; trl_keys('rlvr'); "
        "print([m for m in ('trl', 'torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
