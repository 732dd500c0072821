"""Training on one GPU against TRL's command line: a Llama of about a billion weights, drawn at random, in bfloat16.

    python tests/benchmarks/gpu.py --steps 20 --rounds 3
    python tests/benchmarks/gpu.py --stages sft --sft-batch 16 --length 2048
    python tests/benchmarks/gpu.py --tiny          # a model of two small layers on the CPU: that the script works

SFT, DPO and RLVR by `posttrain` and by `trl`, in turns, with the same settings, as training.py runs them: bfloat16
autocast over float32 weights, no gradient checkpointing unless `--checkpointing`. The weights do not matter for
speed, nor do the texts: the tokenizer is builtin:tiny's, and the vocabulary's other rows are never named. A random
model hardly ever ends a completion, so RLVR's are all of full length.

Model FLOP utilisation is the work of measure/work.py, attention not counted, by the seconds of a steady step and the
peak that the GPU's maker states for bfloat16 without sparsity; the share is of what the GPU reaches in this model's
own matrix products. Memory is the GPU's, as torch counted its allocations at their highest. Exits with 2 without
CUDA.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure.compare import Comparison, compare_each, conclude
from measure.report import NAMES, agreement, markdown_table
from measure.rows import Lengths
from measure.sides import Job
from training import model_directory

PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "4090": 165.0,
}
"""Dense bfloat16 products with float32 sums, from the makers' data sheets, by a part of the device's name: the first
that fits counts."""

# Llama-3.2-1B's shape.
BILLION = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
}


def main() -> int:
    arguments = parse()
    import torch

    if not arguments.tiny and not torch.cuda.is_available():
        print("there is no CUDA device here; --tiny tries the script on the CPU", file=sys.stderr)
        return 2
    device = "CPU" if arguments.tiny else torch.cuda.get_device_name(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        model = make_model(folder / "model", SMALL if arguments.tiny else BILLION, "cpu" if arguments.tiny else "cuda")
        compared, complete = compare_each(
            (job_of(stage, model, arguments) for stage in arguments.stages),
            folder,
            rounds=arguments.rounds,
            warmup=arguments.warmup,
            sides=("posttrain", "trl"),
            limit=arguments.limit,
        )
    print(f"{device}; {arguments.steps} steps, median of {arguments.rounds} rounds\n")
    print(gpu_table(compared, peak_of(device)) + "\n")
    print("\n".join(f"- {agreement(each)}" for each in compared))
    return conclude(compared, complete, arguments.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model and short rows on the CPU, in float32")
    parser.add_argument("--stages", nargs="+", default=["sft", "dpo", "rlvr"], choices=["sft", "dpo", "kto", "rlvr"])
    parser.add_argument("--steps", type=int, help="20; 4 with --tiny")
    parser.add_argument("--warmup", type=int, help="steps that are not steady yet; 5, or 1 with --tiny")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--length", type=int, help="tokens of a row; 1,024, or 64 with --tiny")
    parser.add_argument("--sft-batch", type=int, default=8, help="rows a step")
    parser.add_argument("--pair-batch", type=int, default=4, help="dpo's pairs and kto's rows a step")
    parser.add_argument("--problems", type=int, default=4, help="rlvr's problems a step")
    parser.add_argument("--samples", type=int, default=8, help="completions of a problem")
    parser.add_argument("--completion", type=int, help="tokens of a completion; 256, or 16 with --tiny")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing, on both sides")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a run is ended")
    parser.add_argument("--folder", type=Path, help="where each run's recipe, log and marks are kept")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    defaults = {"steps": (20, 4), "warmup": (5, 1), "length": (1024, 64), "completion": (256, 16)}
    for name, (usual, tiny) in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, tiny if arguments.tiny else usual)
    arguments.folder = arguments.folder and arguments.folder.resolve()
    return arguments


def make_model(folder: Path, shape: dict[str, int], device: str) -> Path:
    """Write a Llama of this shape with random weights, and builtin:tiny's tokenizer; return its directory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    tiny = model_directory("builtin:tiny")
    set_seed(0)
    config = AutoConfig.from_pretrained(tiny)
    config.update({**shape, "head_dim": shape["hidden_size"] // shape["num_attention_heads"]})
    config.max_position_embeddings = 8192
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(tiny / name, folder)
    return folder


def job_of(stage: str, model: Path, arguments: argparse.Namespace) -> tuple[Job, Lengths]:
    """Return the stage's job and its rows' lengths: SFT's are an eighth prompt, a pair's and a thumb's a half."""
    length = arguments.length
    batch = {"sft": arguments.sft_batch, "rlvr": arguments.problems}.get(stage, arguments.pair_batch)
    job = Job(
        stage=stage,
        model=model,
        steps=arguments.steps,
        batch=batch,
        samples=arguments.samples,
        completion=arguments.completion,
        half=not arguments.tiny,
        gpu=not arguments.tiny,
        train={"gradient_checkpointing": arguments.checkpointing},
    )
    prompt = length // 8 if stage in ("sft", "rlvr") else length // 2
    return job, Lengths(prompt, length - prompt, 0.1)


def peak_of(device: str) -> float | None:
    """Return the device's stated peak in operations a second, None for one that is not in the table."""
    return next((1e12 * peak for part, peak in PEAK_TFLOPS.items() if part in device), None)


def gpu_table(compared: Sequence[Comparison], peak: float | None) -> str:
    """Return a line a stage and side. Utilisation needs the device's peak."""
    head = ["stage", "", "s a step", "rows/s", "tokens/s", "share of the rate", "model FLOP utilisation"]
    head += ["GPU memory, MB", "whole run, s", "**times as fast**"]
    rows = [
        [
            each.stage.upper(),
            NAMES[figures.side],
            f"{figures.step_seconds:.3f}",
            f"{figures.rows_a_second:,.1f}",
            f"{figures.tokens_a_second:,.0f}",
            f"{figures.share:.0%}",
            f"{figures.share * each.rate / peak:.1%}" if peak else "",
            f"{figures.cuda_mb:,.0f}",
            f"{figures.whole_seconds:.1f}",
            f"**{figures.ratio:.2f}**",
        ]
        for each in compared
        for figures in each.figures
    ]
    return markdown_table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
