"""The two sides of the comparison: what `posttrain` and TRL's own command line are given, from the same settings."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from measure.processes import RunFailed

BENCHMARKS = Path(__file__).parents[1]
REPOSITORY = BENCHMARKS.parents[1]
SEED = 7
SECONDS_A_RUN = 1800.0

Side = Literal["posttrain", "trl", "trl, threads"]
SIDES: tuple[Side, ...] = ("posttrain", "trl", "trl, threads")
"""posttrain; TRL as it launches itself, which is with one thread; TRL with as many threads as there are cores."""

TRL_COMMAND = {"sft": "sft", "dpo": "dpo", "kto": "kto", "rlvr": "grpo"}
LEARNING_RATE = {"sft": 1e-5, "dpo": 1e-5, "kto": 1e-5, "rlvr": 1e-6}  # preference losses are to move, too
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ACCELERATE_USE_CPU")


@dataclass(frozen=True)
class Job:
    """One stage's training, the same for both sides. `batch` is rows a step (RLVR: problems, with `samples` each).

    `half` is bfloat16 autocast over float32 weights; without it all is float32. `train` goes to both as it is.
    """

    stage: str
    model: Path
    steps: int
    batch: int
    samples: int = 8
    completion: int = 32
    half: bool = False
    gpu: bool = False
    processes: int = 1
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The rows of the whole training: none is seen twice."""
        return self.batch * self.steps


def settings(job: Job) -> dict[str, Any]:
    """Return the keys of TRL's configs that both sides are given, by the names that both know them by."""
    common: dict[str, Any] = {
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch // job.processes,
        "gradient_accumulation_steps": 1,
        "learning_rate": LEARNING_RATE[job.stage],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "gradient_checkpointing": False,
    }
    if job.stage == "rlvr":
        common |= {
            "per_device_train_batch_size": job.batch * job.samples // job.processes,
            "num_generations": job.samples,
            "max_completion_length": job.completion,
            "temperature": 1.0,
            "epsilon_high": 0.28,
            "scale_rewards": "group",
        }
    else:
        common["max_length"] = 4096
    if job.stage in ("sft", "dpo"):
        common["train_sampling_strategy"] = "sequential"
    return {**common, **job.train}


def recipe(job: Job, rows: Path) -> dict[str, Any]:
    """Return posttrain's recipe. RLVR starts without its look for a signal, which TRL does not take."""
    document: dict[str, Any] = {
        "stage": job.stage,
        "out": "run",
        "seed": SEED,
        "model": {"path": str(job.model), "dtype": "auto" if job.half else "float32"},
        "data": {"train": [{"path": str(rows)}]},
        "train": settings(job),
    }
    if job.processes > 1:
        document["launch"] = {"processes": job.processes}
    if job.stage == "rlvr":
        document |= {"graders": [_grader()], "signal": {"problems": 0}}
    return document


def _grader() -> dict[str, Any]:
    sys.path.insert(0, str(BENCHMARKS / "injected"))
    try:
        from benchmark_reward import GRADER
    finally:
        sys.path.remove(str(BENCHMARKS / "injected"))
    return GRADER


def trl_config(job: Job, rows: Path) -> dict[str, Any]:
    """Return the file for ``trl STAGE --config``. Where nothing is said here, TRL's defaults hold."""
    config: dict[str, Any] = {
        "model_name_or_path": str(job.model),
        "dtype": "float32",
        "datasets": [{"path": "json", "data_files": str(rows)}],
        "output_dir": "run",
        "seed": SEED,
        "data_seed": SEED,
        "bf16": job.half,
        "use_cpu": not job.gpu,
        "report_to": "none",
        "disable_tqdm": True,
        **settings(job),
    }
    if job.stage == "rlvr":
        config["reward_funcs"] = ["benchmark_reward.reward"]
    return config


def prepare(job: Job, side: Side, rows: Path, folder: Path) -> list[str]:
    """Write what the side reads into its folder; return its command."""
    folder.mkdir(parents=True)
    if side == "posttrain":
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(job, rows)), encoding="utf-8")
        return [sys.executable, "-m", "posttrain", job.stage, "recipe.yaml"]
    (folder / "trl.yaml").write_text(yaml.safe_dump(trl_config(job, rows)), encoding="utf-8")
    script = Path(sys.executable).with_name("trl")
    if not script.exists():
        raise RunFailed(f"TRL's command line is not installed beside {sys.executable}")
    return [str(script), TRL_COMMAND[job.stage], "--config", "trl.yaml"]


def environment(job: Job, side: Side, folder: Path) -> dict[str, str]:
    """Return the side's environment: nothing that an earlier run left behind is found, and no hub is asked."""
    environ = {name: value for name, value in os.environ.items() if name not in _THREADS}
    paths = [str(BENCHMARKS / "injected"), str(REPOSITORY), *filter(None, [environ.get("PYTHONPATH")])]
    environ |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "BENCHMARK_MARKS": str(folder / "marks.jsonl"),
        "POSTTRAIN_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "HF_HUB_OFFLINE": "1",
    }
    gpus = environ.get("CUDA_VISIBLE_DEVICES") or "0"
    environ["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[0] if job.gpu else ""
    if side == "trl, threads":
        environ["OMP_NUM_THREADS"] = str(cores())
    return environ


def cores() -> int:
    return len(os.sched_getaffinity(0))
