"""Packed SFT is unpacked SFT: the same loss on each trained token, the same gradients, or a refusal."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest

from posttrain.data.masks import IGNORED
from posttrain.errors import UserError

pytestmark = pytest.mark.slow

PACKED = ("train.packing=true", "train.max_length=256", "data.train[0].limit=60")


def tiny(kind: str, attention: str) -> Any:
    """Return a small random model; the weights are large enough that attention matters."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 797, "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    more = {"num_key_value_heads": 2, "intermediate_size": 96, "initializer_range": 0.2}
    more |= (
        {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16} if kind == "gemma3_text" else {}
    )
    more |= {"head_dim": 16} if kind in ("qwen3", "gemma3_text") else {}
    if kind in ("bloom", "mamba"):
        more = {"initializer_range": 0.2}
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **sizes, **more)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)


def losses_and_gradients(trainer: Any, rows: Any, size: int) -> tuple[dict[tuple, list[float]], dict[str, Any]]:
    """Return each row's losses of its trained tokens, by its tokens, and the gradient of the sum of all of them,
    computed by `trainer` in batches of `size`."""
    import torch

    model, losses = trainer.model.train(), {}
    model.zero_grad()
    for start in range(0, len(rows), size):
        examples = [rows[index] for index in range(start, min(start + size, len(rows)))]
        batch = trainer._prepare_inputs(trainer.data_collator(examples))
        outputs = model(**batch, fused_lm_head=True)
        (-outputs.log_probs.sum()).backward()
        logits = model(**{key: value for key, value in batch.items() if key != "labels"}).logits[:, :-1]
        flat = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
        for example, values in zip(examples, flat, strict=True):
            at = 0
            for length in example.get("seq_lengths") or [len(example["input_ids"])]:
                ids, labels = (example[name][at : at + length] for name in ("input_ids", "labels"))
                trained = [i for i in range(1, length) if labels[i] != IGNORED]
                assert tuple(ids) not in losses
                losses[tuple(ids)] = [values[at + i - 1].item() for i in trained]
                at += length
    return losses, {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def distinct(dataset: Any) -> Any:
    seen: set[tuple[int, ...]] = set()
    return dataset.filter(lambda row: not (tuple(row["input_ids"]) in seen or seen.add(tuple(row["input_ids"]))))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["builtin:tiny", "llama", "qwen3", "gemma3_text"])
def test_each_token_has_the_loss_it_has_unpacked(make_job, kind: str, attention: str) -> None:
    import dataclasses

    import torch

    from posttrain.stages.sft import make_trainer

    job, _ = make_job("sft", f"model.attention={attention}", *PACKED)
    model = job.model if kind == "builtin:tiny" else tiny(kind, attention)
    rows = distinct(job.train_dataset)
    job = dataclasses.replace(job, model=model, train_dataset=rows)
    plain_args = copy.copy(job.arguments)
    plain_args.packing = False
    plain = make_trainer(dataclasses.replace(job, model=copy.deepcopy(model), arguments=plain_args))
    packed = make_trainer(job)
    assert len(packed.train_dataset) < len(rows) / 2
    trainers = ((plain, plain.train_dataset, 8), (packed, packed.train_dataset, 4))
    (losses, gradients), (in_packs, packed_gradients) = (losses_and_gradients(*each) for each in trainers)
    assert losses.keys() == in_packs.keys()
    for row, expected in losses.items():
        assert in_packs[row] == pytest.approx(expected, abs=1e-5)
    assert gradients.keys() == packed_gradients.keys()
    for name, expected in gradients.items():
        torch.testing.assert_close(packed_gradients[name], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_batch_has_the_tokens_of_trls_in_rows_of_their_own(make_job) -> None:
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from posttrain.stages.packing import collate
    from posttrain.stages.sft import make_trainer

    job, _ = make_job("sft", *PACKED)
    packs = make_trainer(job).train_dataset[:3]
    packs = [dict(zip(packs, values, strict=True)) for values in zip(*packs.values(), strict=True)]
    ours = collate(packs, pad_token_id=0, pad_to_multiple_of=32)
    theirs = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(packs)
    assert ours["input_ids"].shape[1] % 32 == 0
    for name, values in ours.items():
        cut = [row[: len(pack["input_ids"])] for row, pack in zip(values, packs, strict=True)]
        assert torch.equal(torch.cat(cut), theirs[name][0]), name
        rest = torch.cat([row[len(pack["input_ids"]) :] for row, pack in zip(values, packs, strict=True)])
        assert set(rest.tolist()) <= {-100 if name == "labels" else 0}


@pytest.mark.parametrize("collator", ["ours", "TRL's"])
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("llama", None),
        ("gpt2", None),
        ("gemma3_text", None),
        ("bloom", "see the one before it"),
        ("mamba", "see the one before it"),
    ],
)
def test_a_model_that_lets_rows_see_each_other_is_known(kind: str, why: str | None, collator: str) -> None:
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from posttrain.stages.packing import collate, why_not_apart

    model = tiny(kind, "eager" if why else "sdpa").eval()
    model.config.use_cache = False  # as the trainer sets it

    def logits(batch: dict[str, Any]) -> Any:
        with torch.no_grad():
            return model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0]

    collators = {
        "ours": partial(collate, pad_token_id=0),
        "TRL's": DataCollatorForLanguageModeling(0, padding_free=True),
    }
    found = why_not_apart(logits, collators[collator], 797, 1e-3)
    assert (found is None) == (why is None), found
    if why:
        assert why in found or "position ids" in found


def test_a_run_refuses_to_pack_for_such_a_model(make_job) -> None:
    import dataclasses

    from posttrain.stages.sft import make_trainer

    job, _ = make_job("sft", *PACKED, "train.max_steps=1", "data.dev=null")
    trainer = make_trainer(dataclasses.replace(job, model=tiny("bloom", "eager")))
    with pytest.raises(UserError, match=r"rows cannot be packed: .*bloom, attention eager"):
        trainer.train()


def test_a_packed_run_trains_counts_its_tokens_and_looks_at_rows_unpacked(make_job, capsys) -> None:
    from posttrain.stages.sft import make_trainer

    looks, tokens = [], []
    for packing in ("false", "true"):
        batch = ("train.per_device_train_batch_size=60", "train.gradient_accumulation_steps=1", "train.max_steps=1")
        job, _ = make_job("sft", *PACKED, f"train.packing={packing}", *batch)
        trainer = make_trainer(job)
        trainer.train()
        losses = [row for row in trainer.state.log_history if "loss" in row]
        tokens.append((losses[0]["num_tokens"], pytest.approx(losses[0]["loss"], abs=1e-5)))
        looks.append(
            [pytest.approx(row["eval_loss"], abs=1e-5) for row in trainer.state.log_history if "eval_loss" in row]
        )
    assert tokens[0] == tokens[1]
    assert looks[0] == looks[1]
    assert "packed 57 rows into " in capsys.readouterr().err
