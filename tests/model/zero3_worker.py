"""One rank of tests/model/test_zero3.py: train two steps under ZeRO-3 and save.

Called with the parent's name, the run directory and the recipe's model section as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import deepspeed
from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from posttrain.model.load import load_model, make_lora
from posttrain.model.resolve import resolve
from posttrain.model.save import save_final
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model

ZERO_3 = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "zero_optimization": {
        "stage": 3,
        "stage3_gather_16bit_weights_on_model_save": True,
        "stage3_param_persistence_threshold": 0,
    },
}


def main(name: str, run: Path, model: dict) -> None:
    deepspeed.init_distributed("gloo")
    set_seed(7)
    settings = Model.model_validate({"path": name, "dtype": "float32", **model})
    parent = resolve(name)
    arguments = SFTConfig(
        str(run / "checkpoints"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_steps=2,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        deepspeed=ZERO_3,
    )
    tokenizer = load_tokenizer(parent, settings)
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good to see you!"}]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    trainer = SFTTrainer(
        model=load_model(parent, settings, tokenizer),
        args=arguments,
        train_dataset=Dataset.from_list([{"input_ids": ids, "labels": ids}] * 4),
        processing_class=tokenizer,
        peft_config=make_lora(settings.lora) if settings.lora else None,
    )
    trainer.train()
    loss = trainer.evaluate(Dataset.from_list([{"input_ids": ids, "labels": ids}] * 4))["eval_loss"]
    save_final(trainer, tokenizer, run / "final", settings, parent, lineage=[])
    if trainer.is_world_process_zero():
        (run / "loss.json").write_text(json.dumps({"loss": loss, "ids": ids}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
