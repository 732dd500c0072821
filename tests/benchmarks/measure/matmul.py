"""How fast this machine multiplies a model's own matrices.

    python tests/benchmarks/measure/matmul.py DIR --tokens 440

Prints a JSON line: the model's shape, and operations a second over the three products that training makes of each of
its matrices: forward, the gradient of the input, the gradient of the weights. On a CPU they are made by one thread and
by as many as there are cores, and the better rate counts.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model directory")
    parser.add_argument("--tokens", type=int, required=True, help="rows of the activations: the tokens of a step")
    parser.add_argument("--head-tokens", type=int, help="those that are projected to the vocabulary; all if left out")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    import torch

    matrices, head = matrices_of(arguments.model)
    layers = sum(rows * columns for rows, columns in matrices)
    distinct = sorted(set(matrices))
    counted = [(arguments.tokens, rows, columns, matrices.count((rows, columns))) for rows, columns in distinct]
    counted.append((arguments.head_tokens or arguments.tokens, *head, 1))
    threads = {1, len(os.sched_getaffinity(0))} if arguments.device == "cpu" else {1}
    rate = 0.0
    for count in sorted(threads):
        torch.set_num_threads(count)
        found = measured(counted, getattr(torch, arguments.dtype), arguments.device, arguments.seconds / len(threads))
        rate = max(rate, found)
    print(json.dumps({"layers": layers, "width": head[1], "vocabulary": head[0], "rate": rate}))


def matrices_of(model: str) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Return the shapes of the layers' matrices, and of the projection to the vocabulary. No weight is read."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        made: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    head = made.get_output_embeddings()
    linear = [part for part in made.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    return [(part.out_features, part.in_features) for part in linear], (head.out_features, head.in_features)


def measured(counted: list[tuple[int, int, int, int]], dtype: Any, device: str, seconds: float) -> float:
    """Return operations a second over products of these shapes, each made `times` times: the best of each is taken, all
    together are tried for about so many seconds."""
    import torch

    operations = spent = 0.0
    for tokens, rows, columns, times in counted:
        x = torch.randn(tokens, columns, dtype=dtype, device=device)
        weight = torch.randn(rows, columns, dtype=dtype, device=device)
        out = torch.randn(tokens, rows, dtype=dtype, device=device)
        products = (lambda x=x, w=weight: x @ w.T, lambda o=out, w=weight: o @ w, lambda o=out, x=x: o.T @ x)
        for product in products:
            best = fastest(product, device, seconds / len(counted) / len(products))
            operations += 2.0 * tokens * rows * columns * times
            spent += best * times
    return operations / spent


def fastest(product: Any, device: str, seconds: float) -> float:
    """Return the shortest time of a product, called for so many seconds and at least three times."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < until:
        start = time.perf_counter()
        product()
        wait()
        times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    main()
