"""vLLM against the transformers engine on the shipped model, where vLLM is installed; what it refuses, everywhere."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from posttrain.engines import vllm
from posttrain.engines.sampling import Completion, Prompt, Sampling
from posttrain.errors import UserError
from posttrain.evals.compare import compare_models
from posttrain.model.resolve import Adapter, Parent, resolve
from posttrain.recipe.schema import Model, misfits

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
ASKED = (
    "Hello!",
    "Tom has 12 apples and buys 7 more. How many apples does Tom have now?",
    "Say blue backwards.",
    "What is 23 + 14?",
)
DRAWN = Sampling(4, max_new_tokens=24, top_p=0.9, batch_size=5, seed=3)


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "stage": "eval",
        "model": {"path": "builtin:tiny", "dtype": "float32"},
        "data": {"dev": [{"path": str(QUICKSTART / "data" / "dev.jsonl")}]},
        "graders": [{"type": "number"}],
        "rollout": {"engine": "vllm", "max_new_tokens": 8, "temperature": 0.0},
        "eval": {"samples": 1, "k": [1], "limit": 2},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"adapters": (Adapter("lora"),)}, "adapter", "merge it into a model directory"),
        ({"gguf_file": "model.gguf"}, "GGUF file", "rollout.engine: transformers"),
    ],
)
def test_what_is_not_a_whole_model_is_refused(changes: dict[str, Any], key: str, message: str) -> None:
    whole = resolve("builtin:tiny")
    with pytest.raises(UserError, match=f"takes whole models, and builtin:tiny is an? {key}") as refused:
        vllm.check(dataclasses.replace(whole, **changes))
    assert message in str(refused.value.fix)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_eval_says_how_to_install_it(tmp_path: Path) -> None:
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(recipe()), encoding="utf-8")
    with pytest.raises(UserError, match=r"rollout\.engine: needs the package vllm") as refused:
        compare_models(path, ["base"])
    assert 'pip install "posttrain[vllm]"' in str(refused.value.fix)


@pytest.mark.parametrize(
    ("stage", "rollout", "wrong"),
    [
        ("rlvr", {"engine": "vllm", "gpu_memory": 0.5}, {}),
        ("rlvr", {"engine": "vllm-server", "url": "http://127.0.0.1:8000/"}, {}),
        ("sft", {"engine": "vllm"}, {"engine": "vllm samples in eval and rlvr: in sft leave it out (transformers)"}),
        (
            "eval",
            {"engine": "vllm-server", "url": "http://127.0.0.1:8000"},
            {"engine": "vllm-server samples in rlvr: in eval leave it out (transformers)"},
        ),
        (
            "rlvr",
            {"engine": "vllm-server"},
            {"url": "missing: say where the server is, e.g. `url: http://127.0.0.1:8000`"},
        ),
        (
            "rlvr",
            {"engine": "vllm-server", "url": "http://127.0.0.1:8000/v1"},
            {"url": "write it as http://127.0.0.1:8000, without a path"},
        ),
        (
            "rlvr",
            {"url": "http://127.0.0.1:8000"},
            {"url": "is where `rollout.engine: vllm-server` is: leave one out, or add the other"},
        ),
        (
            "eval",
            {"engine": "vllm", "gpu_memory": 0.5},
            {"gpu_memory": "is what `rollout.engine: vllm` takes in rlvr: leave it out"},
        ),
    ],
)
def test_each_stage_takes_its_engines(stage: str, rollout: dict[str, Any], wrong: dict[str, str]) -> None:
    from posttrain.recipe.schema import Rollout

    found = dict(misfits({"stage": stage, "rollout": Rollout(**rollout)}))
    assert found == {f"rollout.{key}": message for key, message in wrong.items()}


def test_settings_that_vllm_cannot_follow_are_refused() -> None:
    from posttrain.recipe.schema import Lora, Rollout

    four_bit = Model(attention="eager", load_in_4bit=True, lora=Lora(), save="adapter")
    parts = {"stage": "eval", "model": four_bit, "rollout": Rollout(engine="vllm", temperature=0.001)}
    assert [key for key, _ in misfits(parts)] == ["rollout.temperature", "model.attention", "model.load_in_4bit"]
    plain = {"stage": "eval", "model": Model(), "rollout": Rollout(engine="vllm")}
    assert misfits(plain) == []


class Both:
    """The built-in model, its prompts, and what either engine makes of them."""

    def __init__(self) -> None:
        from posttrain.model.load import load_model
        from posttrain.model.tokenizer import load_tokenizer

        settings = Model(dtype="float32")
        self.parent: Parent = resolve("builtin:tiny")
        self.tokenizer = load_tokenizer(self.parent, settings)
        self.model = load_model(self.parent, settings, self.tokenizer)
        self.prompts = [Prompt([], self.ids(text)) for text in ASKED]

    def ids(self, text: str) -> list[int]:
        turns = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]  # type: ignore

    def transformers(self, sampling: Sampling) -> dict[int, list[Completion]]:
        from posttrain.engines.transformers import engine

        return dict(engine(self.model, self.tokenizer)(self.prompts, sampling))

    def engine(self) -> Any:
        return vllm.engine(self.parent, "float32", self.tokenizer)


@pytest.fixture(scope="module")
def both() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        yield Both()


@needs_vllm
@pytest.mark.slow
def test_greedy_text_counts_and_ends_are_those_of_transformers(both: Both) -> None:
    greedy = Sampling(2, max_new_tokens=48, temperature=0.0, batch_size=3)
    expected = both.transformers(greedy)
    assert {group[0].truncated for group in expected.values()} == {False}
    inside = expected[1][0].text[5:8]
    with both.engine() as engine:
        assert dict(engine(both.prompts, greedy)) == expected
        for changes in ({"stop": (inside,)}, {"max_new_tokens": 5}):
            sampling = dataclasses.replace(greedy, **changes)
            assert dict(engine(both.prompts, sampling)) == both.transformers(sampling) != expected


@needs_vllm
@pytest.mark.slow
def test_draws_depend_on_the_seed_and_the_prompt_alone(both: Both) -> None:
    """In float32, where rounding decides next to nothing."""
    with both.engine() as engine:
        first = dict(engine(both.prompts, DRAWN))
        assert dict(engine(both.prompts, DRAWN)) == first
        assert dict(engine(both.prompts, dataclasses.replace(DRAWN, batch_size=1))) == first
        assert dict(engine(both.prompts[2:3], DRAWN)) == {0: first[2]}
        assert dict(engine(both.prompts, dataclasses.replace(DRAWN, seed=4))) != first
        stopped = engine(both.prompts, DRAWN)
        index, group = next(stopped)
        assert group == first[index]
        stopped.close()
        assert dict(engine(both.prompts, DRAWN)) == first
    assert all(len({completion.text for completion in group}) > 1 for group in first.values())
    with both.engine() as another:  # more tokens of prompts at once than vLLM takes in one step
        many = dict(another(both.prompts, dataclasses.replace(DRAWN, samples=150, batch_size=600)))
        assert sum(len(prompt.ids) for prompt in both.prompts) * 150 > 8192
        assert {index: group[:4] for index, group in many.items()} == first


@needs_vllm
@pytest.mark.slow
def test_a_full_context_is_said(both: Both, capsys: pytest.CaptureFixture[str]) -> None:
    long = Prompt([], both.ids("one two three " * 200))
    assert len(long.ids) > 512
    with both.engine() as engine:
        with pytest.raises(UserError, match="takes 512 with the completion"):
            next(iter(engine([long], DRAWN)))
        almost = Prompt([], long.ids[:508])
        ((_, (completion,)),) = engine([almost], Sampling(1, max_new_tokens=24, temperature=0.0))
    assert completion.tokens <= 4 and "have 512 tokens" in capsys.readouterr().err


@needs_vllm
@pytest.mark.slow
def test_eval_scores_two_models_one_after_the_other(both: Both, tmp_path: Path) -> None:
    other = tmp_path / "other"
    both.model.save_pretrained(other)
    both.tokenizer.save_pretrained(other)
    tables = {}
    for engine in ("vllm", "transformers"):
        path = tmp_path / f"{engine}.yaml"
        rollout = {"engine": engine, "max_new_tokens": 56, "temperature": 0.0}
        path.write_text(yaml.safe_dump(recipe(rollout=rollout, eval={"samples": 1, "k": [1], "limit": 12})))
        rows = compare_models(path, ["base", str(other)])["models"]
        tables[engine] = [(row["label"], row["pass@1"], row["truncated"]) for row in rows]
    assert tables["vllm"] == tables["transformers"]
    assert [row[1:] for row in tables["vllm"][:1]] == [row[1:] for row in tables["vllm"][1:]]
