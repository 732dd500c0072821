"""Sampling with transformers' own `generate`, in batches of prompts of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from posttrain.engines.sampling import Completion, Engine, Prompt, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def engine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Engine:
    """Return the engine that samples from a loaded model, and leaves it and the caller's random state as they were."""

    def sample(prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        import torch

        config = _generation_config(model, tokenizer, sampling)
        stops = set(_as_list(config.eos_token_id))
        # Longest first: an out-of-memory error comes at once, and rows of a batch need little padding.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids), reverse=True)
        queue = [i for i in order for _ in range(sampling.samples)]
        done: dict[int, list[Completion]] = {i: [] for i in order}
        was_training = model.training
        model.eval()
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(sampling.seed)
            for start in range(0, len(queue), sampling.batch_size):
                batch = queue[start : start + sampling.batch_size]
                for i, ids in zip(batch, _decode(model, [prompts[i].ids for i in batch], config), strict=True):
                    done[i].append(_completion(ids, stops, tokenizer))
                for i in dict.fromkeys(batch):
                    if len(done[i]) == sampling.samples:
                        yield i, done.pop(i)
        model.train(was_training)

    return sample


def _generation_config(model, tokenizer, sampling: Sampling):
    """Return a config that says everything: what it left out, generate would take from the model's own."""
    from transformers import GenerationConfig

    sampled = {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
    }
    stops = _as_list(model.generation_config.eos_token_id) or [tokenizer.eos_token_id]
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=stops,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        repetition_penalty=1.0,
        **(sampled if sampling.temperature > 0 else {"do_sample": False, "top_k": None}),
        disable_compile=True,
    )


def _decode(model, prompts: Sequence[Sequence[int]], config) -> list[list[int]]:
    """Return the new token ids of each prompt of one batch, padding included; prompts are padded on the left."""
    import torch

    width = max(len(ids) for ids in prompts)
    padded = [[config.pad_token_id] * (width - len(ids)) + list(ids) for ids in prompts]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    output = model.generate(
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=config,
        synced_gpus=False,  # ranks decode different numbers of batches; under ZeRO-3 the weights are gathered around us
    )
    return output[:, width:].tolist()


def _completion(ids: list[int], stops: set[int], tokenizer) -> Completion:
    """Cut at the first end-of-turn token, which counts as a token of the completion."""
    end = next((i + 1 for i, token in enumerate(ids) if token in stops), None)
    kept = ids[:end]
    return Completion(tokenizer.decode(kept, skip_special_tokens=True), len(kept), truncated=end is None)


def _as_list(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
