"""A rank of test_ranks.py: a few steps of TRL's SFT and DPO on a tiny model; keeps losses and weights.

python zero_losses.py RUN ZERO
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from posttrain.launch.deepspeed import deepspeed_config
from posttrain.launch.worker import run_rank
from posttrain.recipe.schema import Launch

GLOBAL_BATCH, STEPS, VOCABULARY = 4, 3, 128


def random_ids(rng: random.Random, low: int, high: int) -> list[int]:
    return [rng.randrange(5, VOCABULARY) for _ in range(rng.randrange(low, high))]


def sft_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Rows of unequal length: a mean of the ranks' means would differ from the mean over the batch."""
    rows = [random_ids(rng, 8, 30) for _ in range(GLOBAL_BATCH * STEPS)]
    return [{"input_ids": row, "labels": [-100] * 4 + row[4:]} for row in rows]


def dpo_rows(rng: random.Random) -> list[dict[str, Any]]:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [{name: random_ids(rng, 4, 12) for name in names} for _ in range(GLOBAL_BATCH * STEPS)]


def train(run: Path, stage: str, zero: int) -> None:
    from datasets import Dataset
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    class TokenizedDPOTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = (SFTConfig if stage == "sft" else DPOConfig)(
        output_dir=str(run / stage),
        per_device_train_batch_size=GLOBAL_BATCH // world_size,
        max_steps=STEPS,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        report_to="none",
        seed=7,
        max_length=None,
        deepspeed=deepspeed_config(Launch(processes=world_size, zero=zero), dtype="float32") or None,
    )
    parent = str(run.parent / "model")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(parent)
    if stage == "sft":
        trainer = SFTTrainer(
            model=LlamaForCausalLM.from_pretrained(parent),
            args=arguments,
            train_dataset=Dataset.from_list(sft_rows(random.Random(0))),
            processing_class=tokenizer,
        )
    else:
        trainer = TokenizedDPOTrainer(
            model=LlamaForCausalLM.from_pretrained(parent),
            ref_model=LlamaForCausalLM.from_pretrained(parent),
            args=arguments,
            train_dataset=Dataset.from_list(dpo_rows(random.Random(0))),
            processing_class=tokenizer,
        )
    trainer.train()
    sharded = zero == 3
    state = trainer.accelerator.get_state_dict(trainer.deepspeed) if sharded else None
    if trainer.is_world_process_zero():
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(run / stage / "final", state_dict=state)
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        (run / f"{stage}.json").write_text(json.dumps(losses))
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    run, zero = Path(sys.argv[1]), int(sys.argv[2])

    def work(run: Path) -> None:
        for stage in ("sft", "dpo"):
            train(run, stage, zero)

    sys.exit(run_rank(run, work))
