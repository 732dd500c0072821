"""The reference of a preference stage is its parent, proved against the parent read from disk by itself."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages.conftest import QUICKSTART

pytestmark = pytest.mark.slow


def log_probs(model: Any, batch: dict[str, Any]) -> Any:
    """Sum of log p(token) over each row's completion, from plain logits."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    steps = torch.log_softmax(logits[:, :-1].float(), -1)
    chosen = steps.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    return (chosen * batch["completion_mask"][:, 1:]).sum(-1)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.lora={r: 4}", "train.precompute_ref_log_probs=false"),
        ("model.lora={r: 4}",),
        ("train.precompute_ref_log_probs=false",),
        ("train.precompute_ref_log_probs=true",),
    ],
    ids=["adapter off", "lora, computed beforehand", "second model", "computed beforehand"],
)
def test_dpo_compares_with_the_parent(make_job, overrides: tuple[str, ...]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from posttrain.stages.dpo import make_trainer

    job, _ = make_job("dpo", "data.train[0].limit=40", "train.per_device_train_batch_size=4", *overrides)
    trainer = make_trainer(job)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    at_start = trainer.compute_loss(trainer.model, batch).item()
    assert at_start == pytest.approx(math.log(2), abs=1e-6)

    with torch.no_grad():  # the policy moves away; the reference must not
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02
    parent = AutoModelForCausalLM.from_pretrained(job.parent.path).eval()
    expected = log_probs(parent, batch)
    if trainer.precompute_ref_logps:
        reference = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
    else:
        reference = torch.cat(trainer.compute_ref_log_probs(trainer.ref_model or trainer.model, batch))
    torch.testing.assert_close(reference, expected, rtol=1e-4, atol=1e-4)
    moved = log_probs(trainer.model, batch)
    assert (moved - expected).abs().min() > 1e-2


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that knows nothing."""
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (cache / "reference").glob("*/*.npy")}


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("dpo", ()),
        ("dpo", ("train.ld_alpha=0.5", "model.lora={r: 4}")),
        ("dpo", ("train.max_length=40", "data.too_long=keep_end")),
        ("kto", ()),
        ("kto", ("train.loss_type=apo_zero_unpaired", "train.precompute_ref_batch_size=3")),
    ],
    ids=["dpo", "shorter tails", "cut", "kto", "no kl"],
)
def test_each_batch_has_what_trl_computes_on_it(make_job, cache: Path, stage: str, overrides: tuple[str, ...]) -> None:
    import torch

    from posttrain.stages import dpo, kto
    from posttrain.stages.reference import ANSWERS

    job, _ = make_job(stage, "data.train[0].limit=40", "train.per_device_train_batch_size=4", *overrides)
    trainer = {"dpo": dpo, "kto": kto}[stage].make_trainer(job)
    seen = 0
    for loader in (trainer.get_train_dataloader(), trainer.get_eval_dataloader()):
        for batch in map(trainer._prepare_inputs, loader):
            plain = [each for each in trainer.compute_ref_log_probs(trainer.model, batch) if each is not None]
            names = [name for name in ANSWERS[stage].values() if name in batch]
            assert len(names) == len(plain)
            for name, values in zip(names, plain, strict=True):
                torch.testing.assert_close(batch[name], values, rtol=1e-6, atol=1e-5)
            seen += len(plain[0])
    assert seen >= 38 and kept(cache)


def test_a_later_run_reads_what_an_earlier_one_computed(make_job, cache: Path, tmp_path: Path, capfd) -> None:
    """Another seed, batch size, rate and adapter change neither the reference nor an answer."""
    from posttrain.stages.dpo import make_trainer

    lines = (QUICKSTART / "data" / "preferences.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text("".join(lines[:40]), encoding="utf-8")
    rows = (f"data.train[0].path={tmp_path / 'rows.jsonl'}", "data.dev={fraction: 0.2}")
    job, _ = make_job("dpo", *rows)
    first = make_trainer(job)
    made = kept(cache)
    assert "of 32 train rows, once" in capfd.readouterr().err and made
    other = ("seed=9", "train.per_device_train_batch_size=3", "train.learning_rate=1e-3", "model.lora={r: 2}")
    job, _ = make_job("dpo", *rows, *other)
    second = make_trainer(job)
    said = capfd.readouterr().err
    assert "32 train rows are known" in said and "8 dev rows are known" in said
    assert kept(cache) == made
    found = [
        {(*row["chosen_ids"], *row["rejected_ids"]): row["ref_chosen_logps"] for rows in sets for row in rows}
        for sets in ((each.train_dataset, each.eval_dataset) for each in (first, second))
    ]
    assert found[0] == found[1] and len(found[0]) == 40


def test_only_new_rows_are_computed(make_job, cache: Path, capfd) -> None:
    from posttrain.stages.kto import make_trainer

    apart = ("train.loss_type=apo_zero_unpaired", "data.dev=null")
    make_trainer(make_job("kto", "data.train[0].limit=30", *apart)[0])
    make_trainer(make_job("kto", "data.train[0].limit=40", *apart)[0])
    assert "computing the log-probabilities of 10 of 40 train rows" in capfd.readouterr().err


def test_another_reference_is_computed(make_job, cache: Path, tmp_path: Path, capfd) -> None:
    from posttrain.stages.dpo import make_trainer

    job, _ = make_job("dpo", "data.train[0].limit=20", "data.dev=null")
    moved = copy.deepcopy(job.model)
    make_trainer(job)
    moved.model.norm.weight.data += 0.1
    moved.save_pretrained(tmp_path / "moved")
    job.tokenizer.save_pretrained(tmp_path / "moved")
    capfd.readouterr()
    make_trainer(make_job("dpo", "data.train[0].limit=20", "data.dev=null", model=str(tmp_path / "moved"))[0])
    assert "of 20 of 20 train rows" in capfd.readouterr().err
    assert len({path.parent for path in kept(cache)}) == 2


def test_an_interrupted_pass_goes_on(make_job, cache: Path, capfd) -> None:
    from posttrain.stages.dpo import make_trainer

    job, _ = make_job("dpo", "data.train[0].limit=40", "data.dev=null", "train.precompute_ref_batch_size=2")
    whole = make_trainer(job).train_dataset
    parts = sorted(kept(cache))
    assert len(parts) == 20
    for path in parts[::2]:
        path.unlink()
    capfd.readouterr()
    job, _ = make_job("dpo", "data.train[0].limit=40", "data.dev=null", "train.precompute_ref_batch_size=5")
    again = make_trainer(job).train_dataset
    assert "of 20 of 40 train rows" in capfd.readouterr().err
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        np.testing.assert_allclose(again[name], whole[name], atol=1e-5)


def test_a_run_that_ends_before_its_rows_do_asks_at_each_step(make_job, capfd) -> None:
    from posttrain.stages.dpo import make_trainer

    few = ("train.max_steps=2", "train.gradient_accumulation_steps=1", "train.per_device_train_batch_size=4")
    trainer = make_trainer(make_job("dpo", "data.train[0].limit=40", "data.dev=null", *few)[0])
    assert not trainer.precompute_ref_logps and trainer.ref_model is not None
    assert "the run reads 8 of 40 rows" in capfd.readouterr().err


def test_a_reference_that_follows_is_never_kept(make_job, cache: Path) -> None:
    from posttrain.stages.dpo import make_trainer

    job, _ = make_job("dpo", "data.train[0].limit=20", "train.sync_ref_model=true")
    trainer = make_trainer(job)
    assert not trainer.precompute_ref_logps and trainer.ref_model is not None and not kept(cache)


def test_an_answers_key_is_of_what_the_model_sees() -> None:
    from types import SimpleNamespace

    from datasets import Dataset

    from posttrain.stages.reference import answer_keys

    def key(prompt: list[int], *answers: list[int], **arguments: Any) -> list[bytes]:
        names = [f"{number}_ids" for number in range(len(answers))]
        rows = Dataset.from_list([{"prompt_ids": prompt, **dict(zip(names, answers, strict=True))}])
        return answer_keys(rows, names, SimpleNamespace(**{"max_length": None, **arguments}))[0].tolist()

    assert key([1, 2], [3]) == key([1, 2], [3])
    assert key([1, 2], [3]) != key([1], [2, 3])
    assert key([1, 2], [3, 4], max_length=3) == key([1, 2], [3])
    assert key([0, 1], [2, 3], max_length=3, truncation_mode="keep_end") == key([1], [2, 3])
    assert key([1], [2], [3, 4])[0] == key([1], [2])[0]
    assert key([1], [2, 3], [4], ld_alpha=0.5)[0] != key([1], [2, 3], [4, 5], ld_alpha=0.5)[0]
    assert key([1], [2], [3, 4], ld_alpha=0.5)[0] == key([1], [2], [3, 4, 5], ld_alpha=0.5)[0]
