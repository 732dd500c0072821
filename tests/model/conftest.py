"""Small models on disk, and a trainer that has really trained."""

from __future__ import annotations

import pytest

from posttrain.model.load import load_model, make_lora
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model

CHATS = [
    [{"role": "user", "content": f"What is {a}+{b}?"}, {"role": "assistant", "content": f"Answer: {a + b}"}]
    for a, b in [(2, 3), (4, 5), (10, 7), (8, 8)]
]


@pytest.fixture
def train(tmp_path):
    """Return a function that trains a few real steps and gives (trainer, tokenizer, parent, settings)."""

    def run(name: str = "builtin:tiny", *, learning_rate: float = 1e-2, **model):
        from datasets import Dataset
        from transformers import set_seed
        from trl import SFTConfig, SFTTrainer

        set_seed(7)
        settings = Model.model_validate({"path": name, "dtype": "float32", **model})
        parent = resolve(name)
        tokenizer = load_tokenizer(parent, settings)
        ids = [tokenizer.apply_chat_template(chat, return_dict=False) for chat in CHATS]
        trainer = SFTTrainer(
            model=load_model(parent, settings, tokenizer),
            args=SFTConfig(
                str(tmp_path / "checkpoints"),
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                max_steps=3,
                per_device_train_batch_size=4,
                learning_rate=learning_rate,
                lr_scheduler_type="constant",
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in ids]),
            processing_class=tokenizer,
            peft_config=make_lora(settings.lora) if settings.lora else None,
        )
        trainer.train()
        return trainer, tokenizer, parent, settings

    return run


@pytest.fixture
def logits():
    """Return a function from (model, tokenizer) to the logits of a fixed chat, adapters as the model has
    them."""

    def compute(model, tokenizer):
        import torch

        batch = tokenizer.apply_chat_template(CHATS[0], return_tensors="pt", return_dict=True)
        model.eval()
        with torch.no_grad():
            return model(**batch).logits.float()

    return compute
