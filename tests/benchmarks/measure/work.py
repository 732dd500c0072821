"""The arithmetic that a step cannot do without, counted: what its speed is a share of.

A matrix product of a token with a matrix of n weights is 2n operations forward, and 2n each for the gradients of its
input and of its weights: a token that is trained on costs 6 operations a weight (Kaplan et al. 2020, arXiv
2001.08361, section 2.1), one that is only read costs 2. So a step needs, with N the weights of the layers' matrices,
h the width and V the vocabulary:

- SFT: 6 N for each token, 6 h V for each position that the loss reads
- DPO: 6 N for each token of prompt, chosen and rejected, the prompt counted once; 6 h V for each completion token
- KTO: as SFT; and for the KL term 2 N + 2 h V for each token of the mismatched completion
- RLVR: sampling, 2 N for each token of a problem's prompt, counted once, and 2 N + 2 h V for each sampled token;
  learning, the same three times over

Left out are attention's own products (1% of the rest in SmolLM2's rows of 55 tokens, a third in rows of 2,048), all
that is no matrix product, and reference models, whose log-probabilities are needed once a row and not once a step.
Padding, prompts computed twice and positions projected for nothing are not counted, so waste lowers the share that a
side reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Shape(NamedTuple):
    """A model's size: weights of the matrices in its layers, width, vocabulary."""

    layers: int
    width: int
    vocabulary: int

    @property
    def head(self) -> int:
        return self.width * self.vocabulary


class Tokens(NamedTuple):
    """The tokens of a step: of prompts (each counted once), of completions, of KTO's mismatched completions.

    `read` is how many positions the loss reads: the completions' tokens, but for what a template adds after them.
    """

    prompt: int
    completion: int
    read: int
    mismatched: int = 0

    @property
    def all(self) -> int:
        return self.prompt + self.completion


def step_flops(stage: str, tokens: Tokens, shape: Shape) -> float:
    """Return the operations that a step of `stage` cannot do without."""
    forward = 2 * shape.layers * tokens.all + 2 * shape.head * tokens.read
    if stage == "rlvr":
        return 4 * forward
    mismatched = 2 * (shape.layers + shape.head) * tokens.mismatched
    return 3 * forward + mismatched


def tokens_of_row(stage: str, row: Mapping[str, list[int]]) -> Tokens:
    """Return the tokens of a row as posttrain tokenized it; RLVR's completions are not there yet."""
    if stage == "sft":
        read = sum(label != -100 for label in row["labels"])
        return Tokens(len(row["input_ids"]) - read, read, read)
    completion = {"dpo": ("chosen_ids", "rejected_ids"), "kto": ("completion_ids",), "rlvr": ()}[stage]
    count = sum(len(row[name]) for name in completion)
    mismatched = count if stage == "kto" else 0  # those of a batch are its own completions, each given to another row
    return Tokens(len(row["prompt_ids"]), count, count, mismatched)


def total(tokens: list[Tokens]) -> Tokens:
    return Tokens(*map(sum, zip(*tokens, strict=True)))
