"""`posttrain eval` against lm-evaluation-harness: the same model, prompts, stop tokens and length, greedy.

    python -m venv lm-eval
    lm-eval/bin/pip install torch==2.13.0 "lm-eval[hf]==0.4.13" transformers==5.23.0
    python tests/benchmarks/eval_throughput.py --model DIR --problems gsm8k_test.jsonl.gz --lm-eval lm-eval/bin/python

DIR is a folder of safetensors with a chat template. The two run in turns, `--rounds` times: posttrain as it comes, and
lm-evaluation-harness's transformers backend with each batch size of `--batch-sizes`. Its default is 1; with `auto` it
probes with batches of the model's longest context, which a CPU takes hours for.

Two times are printed: the whole command, and the generation alone, which is from the call with all prompts to its last
text. The generation is timed by a wrapper around the one function on either side that takes prompts and gives texts:
`posttrain.engines.transformers.engine` and `HFLM.generate_until`. Of the rounds the shortest time counts: what else a
machine does can only add. Exits with 1 below `--at-least` times the best batch size's generation speed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

RECIPE = """
stage: eval
model: {{path: {model}, dtype: {dtype}}}
data: {{dev: [{{path: rows.jsonl}}]}}
graders: [{{type: number}}]
rollout: {{temperature: 0, max_new_tokens: {longest}}}
eval: {{samples: 1, k: [1]}}
"""

TASK = """
task: same_problems
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{do_sample: false, max_gen_toks: {longest}, until: ["<|im_end|>"]}}
metric_list: [{{metric: exact_match}}]
"""


def main() -> int:
    arguments = parse()
    if arguments.side:
        (posttrain_side if arguments.side == "posttrain" else lm_eval_side)(arguments)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return compare(arguments, Path(folder))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder with the model")
    parser.add_argument("--problems", help="GSM8K's rows, .jsonl or .jsonl.gz")
    parser.add_argument("--lm-eval", help="the python of an environment with lm-evaluation-harness")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--longest", type=int, default=256, help="most new tokens")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch-sizes", default="1,8,32,100", help="lm-evaluation-harness's")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=0.0, help="the ratio to reach")
    for internal in ("--side", "--folder", "--batch-size"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(arguments: argparse.Namespace, folder: Path) -> int:
    """Run both sides in turns and print what they took; return the exit code."""
    model = Path(arguments.model).resolve()
    opened = gzip.open if arguments.problems.endswith(".gz") else open
    with opened(arguments.problems, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][: arguments.rows]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model, dtype=arguments.dtype, longest=arguments.longest))
    (folder / "task.yaml").write_text(TASK.format(rows=folder / "rows.jsonl", longest=arguments.longest))

    ours = ("posttrain eval", [sys.executable, "--side", "posttrain"])
    theirs = [
        (f"lm-eval, batch size {size}", [arguments.lm_eval, "--side", "lm-eval", "--batch-size", size])
        for size in arguments.batch_sizes.split(",")
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(arguments.rounds):
        for name, (python, *options) in (ours, *theirs):
            run = [python, __file__, *options, "--model", str(model), "--folder", str(folder)]
            found.setdefault(name, []).append(timed([*run, "--dtype", arguments.dtype]))
            print(f"round {number + 1}: {name}: {line(found[name][-1])}", flush=True)
    print()
    best = {name: min(runs, key=lambda run: run["generation"]) for name, runs in found.items()}
    mine = best.pop(ours[0])
    print(f"{ours[0]}: {line(mine)}; right: {right(rows, mine['texts'])} of {len(rows)}")
    for name, run in best.items():
        same = agreeing(mine["texts"], run["texts"])
        ratios = [run[of] / mine[of] for of in ("generation", "processor", "whole")]
        print(f"{name}: {line(run)}; right: {right(rows, run['texts'])}; same text: {same}", end="; ")
        print("posttrain is {:.2f} times as fast ({:.2f} by processor, whole command {:.2f})".format(*ratios))
    for (one, a), (other, b) in combinations(best.items(), 2):
        print(f"{one} and {other}: same text: {agreeing(a['texts'], b['texts'])}")
    fastest = min(best.values(), key=lambda run: run["generation"])
    ratio = fastest["generation"] / mine["generation"]
    print(f"ratio against its best batch size: {ratio:.2f}")
    return 0 if ratio >= arguments.at_least else 1


def timed(command: list[str]) -> dict[str, Any]:
    """Run one side; return its document with the seconds of the whole command."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    whole = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "whole": whole}


def agreeing(texts: list[str], others: list[str]) -> int:
    """Return how many are the same: in bfloat16 other batches round otherwise, and a greedy text then forks."""
    return sum(a.strip() == b.strip() for a, b in zip(texts, others, strict=True))


def line(run: dict[str, Any]) -> str:
    times = f"generation {run['generation']:.1f} s ({run['processor']:.1f} s of processor)"
    return f"{times}, whole command {run['whole']:.1f} s, {run['threads']} threads"


def right(rows: list[dict[str, Any]], texts: list[str]) -> int:
    """Return how many texts posttrain's number grader passes."""
    from posttrain.graders import build_all, grade_all
    from posttrain.graders.number import NumberSettings

    graders = build_all([NumberSettings(type="number")], Path.cwd())
    return sum(grade.passed for grade in grade_all(graders, texts, rows))


class Clock:
    """Seconds of wall and of processor between `start` and `stop`."""

    def start(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.generation = time.perf_counter() - self.began[0]
        self.processor = time.process_time() - self.began[1]


def tell(clock: Clock, texts: list[str]) -> None:
    """Print this side's document: the last line of its output."""
    import torch

    times = {"generation": clock.generation, "processor": clock.processor}
    print("\n" + json.dumps({**times, "texts": texts, "threads": torch.get_num_threads()}), flush=True)


def posttrain_side(arguments: argparse.Namespace) -> None:
    """Run `posttrain eval` in this process, its engine timed."""
    import posttrain.engines.transformers as engines
    from posttrain.cli import app

    plain, texts, clock = engines.engine, {}, Clock()

    def engine(model, tokenizer):
        def sample(prompts, sampling):
            clock.start()
            for index, completions in plain(model, tokenizer)(prompts, sampling):
                texts[index] = completions[0].text
                yield index, completions
            clock.stop()

        return sample

    engines.engine = engine
    app(["eval", f"{arguments.folder}/recipe.yaml"], standalone_mode=False)
    tell(clock, [texts[index] for index in sorted(texts)])


def lm_eval_side(arguments: argparse.Namespace) -> None:
    """Run lm-evaluation-harness in this process, its `generate_until` timed."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    plain, clock = HFLM.generate_until, Clock()

    def generate_until(self, *given, **named):
        clock.start()
        texts = plain(self, *given, **named)
        clock.stop()
        return texts

    HFLM.generate_until = generate_until
    size = arguments.batch_size
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": arguments.model, "dtype": arguments.dtype},
        tasks=["same_problems"],
        batch_size=size if size == "auto" else int(size),
        device="cuda" if has_gpu() else "cpu",
        apply_chat_template=True,
        task_manager=TaskManager(include_path=arguments.folder, include_defaults=False),
        log_samples=True,
    )
    samples = sorted(found["samples"]["same_problems"], key=lambda sample: sample["doc_id"])
    tell(clock, [sample["resps"][0][0] for sample in samples])


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
