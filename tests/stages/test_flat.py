"""Training without padding is tried on the model first, and left where the model does not agree."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.forward.attention import NAME

pytestmark = pytest.mark.slow


def trained(make_job: Any, *overrides: str, model: Any = None) -> Any:
    """Return an SFT trainer after one step."""
    from dataclasses import replace

    from posttrain.stages.sft import make_trainer

    job, _ = make_job("sft", "data.train[0].limit=40", "train.max_steps=1", *overrides)
    trainer = make_trainer(replace(job, model=model) if model is not None else job)
    trainer.train()
    return trainer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_shipped_model_trains_flat(make_job, capfd, dtype) -> None:
    trainer = trained(make_job, f"model.dtype={dtype}")
    assert trainer.model.config._attn_implementation == NAME
    assert "padding" not in capfd.readouterr().err


def test_a_model_that_mixes_neighbours_goes_trls_way(make_job, capfd) -> None:
    """LFM2's convolutions run over whatever stands side by side."""
    from transformers import AutoModelForCausalLM, Lfm2Config

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Lfm2Config(
        **sizes, vocab_size=3000, num_hidden_layers=2, layer_types=["conv", "full_attention"], pad_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    trained(make_job, model=model)
    assert "computed with padding: laid out flat, the model's log-probabilities differ by" in capfd.readouterr().err


def test_sdpa_by_name_is_trls_own(make_job) -> None:
    trainer = trained(make_job, "model.attention=sdpa")
    assert trainer.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("stage", ["dpo", "rlvr"])
def test_a_second_model_as_reference_is_flat_too_under_autocast(make_job, capfd, stage) -> None:
    """accelerate has wrapped its forward by then; with the first weights both models say the same."""
    import importlib

    keys = {"dpo": ("train.precompute_ref_log_probs=false",), "rlvr": ("train.beta=0.1", "signal.problems=0")}
    job, _ = make_job(stage, "data.train[0].limit=40", "train.max_steps=1", "model.dtype=auto", *keys[stage])
    if not job.arguments.bf16:
        pytest.skip("auto is bfloat16 only where the processor is fast at it")
    trainer = importlib.import_module(f"posttrain.stages.{stage}").make_trainer(job)
    assert trainer.ref_model.config._attn_implementation == NAME
    trainer.train()
    found = [row["kl" if stage == "rlvr" else "loss"] for row in trainer.state.log_history if "loss" in row]
    assert found == [pytest.approx(0.0 if stage == "rlvr" else 0.6931, abs=2e-3)]
    assert "padding" not in capfd.readouterr().err


def test_final_is_saved_under_transformers_own_attention(make_job, tmp_path) -> None:
    trainer = trained(make_job)
    trainer.save_model(str(tmp_path / "saved"))
    assert NAME not in (tmp_path / "saved" / "config.json").read_text(encoding="utf-8")
