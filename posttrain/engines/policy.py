"""The model in training as vLLM runs it beside the trainer, in the same process and on the same device.

vLLM never reads the weights from disk: it makes the model from its configuration, and is given the weights before each
use, as they are then. On a GPU it gives all of its memory back in between (sleep level 2), for the step's own use.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from posttrain.engines.sampling import Engine, Sampling
from posttrain.engines.transformers import stop_tokens
from posttrain.engines.vllm import load, sampler
from posttrain.engines.weights import checkpoint_weights
from posttrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FIX = "use transformers, or where it is memory that lacks, another rollout.gpu_memory"


class Policy:
    """A model in vLLM that draws by the weights it took last.

    `length`: the most tokens that a prompt will have with its completion, in any rank, and `rows` the completions that
    are drawn at a time: all ranks load vLLM at once, and once. `memory` is the share of a GPU's memory that it may use.
    `processed`: log-probabilities are those after the temperature, and after the cut of ``top_p``; else before both.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        dtype: str,
        *,
        length: int,
        rows: int,
        memory: float,
        processed: bool,
    ) -> None:
        self._config = copy.deepcopy(model.config)
        self._config.architectures = [type(model).__name__]
        self._tokenizer, self._dtype = tokenizer, dtype
        self._length, self._rows, self._memory = length, rows, memory
        self._processed = processed
        self._llm: Any = None
        self._engine = sampler(self._with_room, frozenset(stop_tokens(model, tokenizer)), tokenizer)

    def take(self, model: Any) -> None:
        """Take over the weights of the model in training, which is whole here."""
        import torch

        if self._llm is None:
            self._llm = self._load()
        elif torch.cuda.is_available():
            torch.cuda.empty_cache()
            self._llm.wake_up(tags=["weights"])
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": checkpoint_weights(model)})
        self._llm.apply_model(_take_head)
        self._llm.reset_prefix_cache()  # what it holds was computed with other weights

    @contextmanager
    def drawing(self) -> Iterator[Engine]:
        """Give the engine, until the memory is given back."""
        import torch

        on_gpu = torch.cuda.is_available()
        if on_gpu and self._llm.llm_engine.is_sleeping():
            self._llm.wake_up(tags=["kv_cache"])
        try:
            yield self._engine
        finally:
            if on_gpu:
                self._llm.sleep(level=2)

    def _with_room(self, longest: int, sampling: Sampling) -> Any:
        return self._llm

    def _load(self) -> Any:
        import torch

        settings: dict[str, Any] = {}
        if torch.cuda.is_available():
            settings = {"gpu_memory_utilization": self._memory, "enable_sleep_mode": True}
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            settings["distributed_executor_backend"] = "external_launcher"  # each rank has a vLLM of its own
        with TemporaryDirectory(prefix="posttrain-") as place:
            self._config.save_pretrained(place)
            self._tokenizer.save_pretrained(place)
            try:
                return load(
                    place,
                    self._dtype,
                    length=self._length,
                    rows=self._rows,
                    load_format="dummy",
                    logprobs_mode="processed_logprobs" if self._processed else "raw_logprobs",
                    **settings,
                )
            except ValueError as error:  # an architecture that it does not have, too little memory
                raise UserError(f"vllm cannot load this model: {error}", where="rollout.engine", fix=_FIX) from error


def _take_head(model: Any) -> None:
    """Have vLLM look again at an output head that shares its weight with the embedding: a CPU's is a packed copy, which
    reloading leaves as it was."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)
