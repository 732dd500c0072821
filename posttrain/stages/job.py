"""What a stage works on, gathered once by the spine and handed to the stage's `make_trainer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.data.records import Problem
from posttrain.engines.sampling import Prompt
from posttrain.graders import Grader
from posttrain.recipe.schema import Recipe

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from peft import LoraConfig
    from transformers import PreTrainedModel

    from posttrain.engines.policy import Policy
    from posttrain.engines.vllm_server import Server
    from posttrain.model.resolve import Parent


@dataclass(frozen=True)
class Job:
    """One stage about to train.

    `dev_dataset` has the rows of the held-out loss; RLVR has none. `problems`, with their `prompts`, are what is
    sampled and graded at each look. `train_problems` are RLVR's, in the order of the data set's rows; else empty.
    """

    recipe: Recipe
    run: Path
    parent: Parent
    arguments: Any  # the stage's own TRL config
    tokenizer: Any
    model: PreTrainedModel
    peft_config: LoraConfig | None
    train_dataset: Dataset | IterableDataset
    dev_dataset: Dataset | None
    problems: list[Problem]
    prompts: list[Prompt]
    train_problems: list[Problem]
    graders: list[Grader]
    policy: Policy | Server | None  # what samples, where the model does not do it itself
    place_of: Callable[[int], str] | None  # where a row of `train_dataset` came from, as file:line; None if streamed

    @property
    def eval_dataset(self) -> Dataset | None:
        """What the trainer is given to evaluate. Where looks only sample it still asks for rows, and reads none."""
        if self.dev_dataset is None and self.problems:
            return as_dataset(list(islice(self.train_dataset, 8)))
        return self.dev_dataset


def as_dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Return the rows as an in-memory data set."""
    from datasets import Dataset

    return Dataset.from_list(rows)
