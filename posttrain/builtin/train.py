"""Train the built-in model from nothing: `python -m posttrain.builtin.train --out DIR`.

First it learns its skills from clean chats, then the habits of a base model that can do its tasks and often
does not: guessing, prose instead of the asked line, rambling.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from posttrain.builtin.tasks import NEW_STORIES, STORIES, Habits, Message, draw_chat, draw_drill, turn
from posttrain.builtin.tokenizer import train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

CLEAN = Habits(worked=1.0, line=1.0, rambling=0.0)
BASE = Habits()
IGNORED = -100
TOKENS = 25  # about the length of a reply


def chats(rng: Random, habits: Habits) -> Iterator[list[Message]]:
    """Endless chats: drills, and chats whose numbers belong to the base model's split."""
    drills = 0.4 if habits == CLEAN else 0.05
    while True:
        if rng.random() < drills:
            yield turn(*draw_drill(rng))
        else:
            yield draw_chat(rng, "base", STORIES + NEW_STORIES, habits)


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained Llama of about 0.95 million parameters for this vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, messages: list[Message]) -> tuple[list[int], list[int]]:
    """Token ids of a rendered chat, and labels that keep only the replies and their end-of-turn tokens."""
    ids: list[int] = []
    labels: list[int] = []
    for message in messages:
        head = tokenizer(f"<|im_start|>{message['role']}\n").input_ids
        body = tokenizer(f"{message['content']}<|im_end|>").input_ids
        tail = tokenizer("\n").input_ids
        ids += head + body + tail
        kept = body if message["role"] == "assistant" else [IGNORED] * len(body)
        labels += [IGNORED] * len(head) + kept + [IGNORED] * len(tail)
    return ids, labels


def batches(
    tokenizer: PreTrainedTokenizerFast, rng: Random, habits: Habits, size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless right-padded batches (ids, labels), each `[size, length]`, of chats of about equal length."""
    import torch

    source = chats(rng, habits)
    while True:
        rows = sorted((encode(tokenizer, next(source)) for _ in range(size * 16)), key=lambda row: len(row[0]))
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        rng.shuffle(groups)
        for group in groups:
            length = len(group[-1][0])
            pad = tokenizer.pad_token_id
            yield (
                torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in group]),
                torch.tensor([labels + [IGNORED] * (length - len(labels)) for _, labels in group]),
            )


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (nats) of the labelled tokens, summed and divided by `TOKENS` a row; logits at those alone.

    The divisor is fixed because rows come sorted by length: with a mean, tokens of short replies would count
    for more, and the model would guess more often than its chats do.
    """
    import torch

    # Padding is on the right and attention is causal, so no labelled token sees it.
    hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
    targets = labels[:, 1:]
    kept = targets != IGNORED
    total = torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), targets[kept], reduction="sum")
    return total / (TOKENS * len(ids))


def make_optimizers(model: LlamaForCausalLM, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, at five times `peak`, and AdamW for the embedding and the norms."""
    import torch

    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=5 * peak, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def learning_rate(step: int, steps: int) -> float:
    """Share of the peak: warm up over 50 steps, hold, and fall to zero over the last two fifths."""
    return min((step + 1) / 50, 1.0, (steps - step) / (0.4 * steps))


def train(out: Path, steps: int, batch_size: int, peak: float, seed: int, clean: float) -> None:
    """Train for `steps`, the first share `clean` (0 to 1) of them on clean chats, and save to `out`."""
    import torch
    from transformers import GenerationConfig

    torch.manual_seed(seed)
    rng = Random(seed)
    source = chats(rng, BASE)
    texts = [f"{m['role']}\n{m['content']}" for _ in range(4000) for m in next(source)]
    tokenizer = train_tokenizer(texts, vocab_size=1024)
    model = make_model(tokenizer)
    optimizers = make_optimizers(model, peak)
    start, window = time.time(), 0.0
    streams = [batches(tokenizer, rng, habits, batch_size) for habits in (CLEAN, BASE)]
    for step in range(steps):
        loss = loss_of(model, *next(streams[step >= clean * steps]))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * learning_rate(step, steps)
            optimizer.step()
        window += loss.item() / 50
        if step % 50 == 49:
            print(f"step {step + 1} loss {window:.3f} {time.time() - start:.0f} s", file=sys.stderr, flush=True)
            window = 0.0
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clean", type=float, default=0.7, help="share of the steps on clean chats")
    args = parser.parse_args()
    train(args.out, args.steps, args.batch_size, args.learning_rate, args.seed, args.clean)


if __name__ == "__main__":
    main()
