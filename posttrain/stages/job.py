"""What a stage works on, gathered once by the spine and handed to the stage's `make_trainer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.data.records import Problem
from posttrain.recipe.schema import Recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from posttrain.model.resolve import Parent


@dataclass(frozen=True)
class Job:
    """One stage about to train. The problems are RLVR's, in the order of the datasets' rows; else empty."""

    recipe: Recipe
    run: Path
    parent: Parent
    arguments: Any  # the stage's own TRL config
    tokenizer: Any
    model: PreTrainedModel
    peft_config: LoraConfig | None
    train_dataset: Dataset
    dev_dataset: Dataset | None
    train_problems: list[Problem]
    dev_problems: list[Problem]


def as_dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Return the rows as an in-memory data set."""
    from datasets import Dataset

    return Dataset.from_list(rows)
