"""The spine of every stage: rows, model, trainer, training, the finished checkpoint, run.json."""

from __future__ import annotations

import importlib
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from posttrain import __version__, stopping
from posttrain.data.load import Loaded, load_data
from posttrain.data.records import Problem
from posttrain.engines.sampling import Prompt
from posttrain.evals.held_out import prompts_of
from posttrain.graders import build_all
from posttrain.importing import import_all
from posttrain.memory.shortage import Moment, explained
from posttrain.model.resolve import Parent, resolve_model
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Recipe
from posttrain.runs import checkpoints, directory
from posttrain.runs.lineage import finished_document, generation
from posttrain.runs.metrics import dev_rows, forget_after, read_rows
from posttrain.runs.room import said_if_full
from posttrain.stages.arguments import make_arguments, token_settings, train_settings
from posttrain.stages.job import Job, as_dataset
from posttrain.stages.reshard import for_these_ranks
from posttrain.stages.rlvr import prompt_rows
from posttrain.stages.sampler import policy_of
from posttrain.stages.terminal import quiet, say

_TRAINER = {"sft": "sft_trainer", "dpo": "dpo_trainer", "kto": "kto_trainer", "rlvr": "grpo_trainer"}
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets")


def run_stage(run: Path, loaded: Loaded | None = None) -> Path:
    """Train what RUN/recipe.yaml asks for, from the last checkpoint if there is one; return RUN/final.

    Every rank calls this. `loaded` saves reading the rows a second time in a process that has them.
    Raises Stopped after a signal, with the last step saved, and UserError for what the user can mend.
    """
    with said_if_full(run):
        return _train(run, loaded)


def _train(run: Path, loaded: Loaded | None) -> Path:
    started = time.time()
    recipe = load_recipe(run / directory.RECIPE, stage=None).recipe
    import_all("peft", "datasets", f"trl.trainer.{_TRAINER[recipe.stage]}")
    quiet()
    parent = resolve_model(recipe.model)
    loaded = loaded or load_data(recipe.data, recipe.stage, seed=recipe.seed)
    with explained(recipe, parent) as moment:
        job = prepare(recipe, run, parent, loaded, moment)
        trainer = importlib.import_module(f"posttrain.stages.{recipe.stage}").make_trainer(job)
        checkpoint = checkpoints.newest(run)
        earlier = _go_back_to(checkpoint, trainer, job)
        stop, alarmed = _follow(trainer, job, started - earlier)
        moment.trainer = trainer
        with stopping.held(stop.promise):
            stop.train(for_these_ranks(trainer, checkpoint) if checkpoint else None)
            alarmed.check()
            _finish(trainer, job, loaded, started - earlier)
    return run / directory.FINAL


def _go_back_to(checkpoint: Path | None, trainer: Any, job: Job) -> float:
    """Take back what the run wrote after `checkpoint` (all of it when there is none), and have the look taken that the
    run was stopped before. Return the seconds of training before the checkpoint."""
    step = checkpoints.step_of(checkpoint) if checkpoint else -1
    metrics = job.run / directory.METRICS
    if trainer.is_world_process_zero():
        forget_after(metrics, step)
        directory.forget_samples_after(job.run, step)
    trainer.accelerator.wait_for_everyone()
    if checkpoint is None:
        return 0.0
    say(f"resuming from step {step}")
    rows = read_rows(metrics)
    trainer._total_train_tokens = max((row.get("num_tokens") or 0 for row in rows), default=0)  # a look says it too
    every = directory.read_json(checkpoint / "trainer_state.json")["eval_steps"]
    looked = any(row["step"] == step for row in dev_rows(rows))
    job.arguments.eval_on_start = job.eval_dataset is not None and step % every == 0 and not looked
    return max((row.get("seconds") or 0.0 for row in rows), default=0.0)


def prepare(recipe: Recipe, run: Path, parent: Parent, loaded: Loaded, moment: Moment | None = None) -> Job:
    """Load what the stage needs, in the order that lets each error come as early as it can. `moment` is told the
    longest row."""
    from transformers import set_seed

    from posttrain.data.stream import stream_rows
    from posttrain.memory.before import say_memory
    from posttrain.memory.disk import say_disk
    from posttrain.memory.forecast import longest_of
    from posttrain.model.load import compute_dtype, load_model, make_lora
    from posttrain.model.tokenizer import load_tokenizer

    say(f"loading {parent.name}")
    set_seed(recipe.seed)  # before the trainer is made: it draws the adapters
    has_looks = bool(loaded.dev or loaded.problems)
    arguments: Any = make_arguments(recipe, run, has_dev=has_looks, dtype=compute_dtype(recipe.model))
    tokenizer = load_tokenizer(parent, recipe.model)
    rlvr = recipe.stage == "rlvr"
    train, train_problems, place_of = _prepared(recipe, tokenizer, loaded.train, "train")
    if loaded.stream:
        train = stream_rows(loaded.stream, tokenizer, token_settings(recipe, recipe.stage))
    dev, *_ = (None,) if rlvr else _prepared(recipe, tokenizer, _limited(recipe, loaded.dev), "dev")
    problems, prompts = _prompts(recipe, tokenizer, _limited(recipe, loaded.dev if rlvr else loaded.problems))
    if recipe.stage == "kto":
        _balance(recipe, arguments, train["label"])
    longest = longest_of(train, recipe, [len(prompt.ids) for prompt in prompts])
    if moment is not None:
        moment.longest = longest
    foreseen = say_memory(recipe, parent, longest)
    if foreseen is not None:
        limit = train_settings(recipe)["save_total_limit"]
        say_disk(foreseen.written, run, arguments, limit, 0 if loaded.stream else len(train))
    if recipe.rollout.url:
        from posttrain.engines.vllm_server import reach

        reach(recipe.rollout.url.rstrip("/"))  # before the model, which may take minutes
    model = load_model(parent, recipe.model, tokenizer)
    return Job(
        recipe=recipe,
        run=run,
        parent=parent,
        arguments=arguments,
        tokenizer=tokenizer,
        model=model,
        peft_config=make_lora(recipe.model.lora) if recipe.model.lora else None,
        train_dataset=train,
        dev_dataset=dev,
        problems=problems,
        prompts=prompts,
        train_problems=train_problems,
        graders=build_all(recipe.graders, run),
        policy=policy_of(recipe, run, model, tokenizer, train, prompts),
        place_of=place_of,
    )


def _limited(recipe: Recipe, records: Any) -> Any:
    return records[: recipe.eval.limit]


def _prepared(
    recipe: Recipe, tokenizer: Any, records: Any, name: str
) -> tuple[Any, list[Problem], Callable[[int], str] | None]:
    """Return the trainer's rows, the problems they are of in RLVR, and what says where a row came from; say what was
    kept."""
    from posttrain.data.prepare import prepare_rows

    if not records:
        return None, [], None
    prepared = prepare_rows(records, recipe.stage, tokenizer, token_settings(recipe, recipe.stage))
    say(f"{name}: {prepared.summary}")

    def place_of(row: int) -> str:
        return str(records[int(prepared.record_of[row])].place)

    if recipe.stage != "rlvr":
        return prepared.dataset, [], place_of
    problems = [records[int(position)] for position in prepared.record_of]
    return as_dataset(prompt_rows(problems, prepared.dataset["prompt_ids"])), problems, place_of


def _prompts(recipe: Recipe, tokenizer: Any, records: Any) -> tuple[list[Problem], list[Prompt]]:
    """Return the problems to look at, with what an engine is asked; say which were left out for their length."""
    from posttrain.data.prepare import prepare_rows

    if not records:
        return [], []
    prepared = prepare_rows(records, "rlvr", tokenizer, token_settings(recipe, "rlvr"))
    say(f"dev problems: {prepared.summary}")
    kept = [records[int(position)] for position in prepared.record_of]
    return kept, prompts_of(kept, prepared.dataset["prompt_ids"])


def _balance(recipe: Recipe, arguments: Any, labels: Sequence[bool]) -> None:
    """Set KTO's label weights from the label counts, unless the recipe has weights of its own."""
    from posttrain.data.balance import label_weights

    up = sum(labels)
    down = len(labels) - up
    if not {"desirable_weight", "undesirable_weight"} & recipe.train.keys():
        arguments.desirable_weight, arguments.undesirable_weight = label_weights(up, down)
    say(
        f"labels: {up:,} up (weight {arguments.desirable_weight:.3g}), "
        f"{down:,} down (weight {arguments.undesirable_weight:.3g})"
    )


def _follow(trainer: Any, job: Job, started: float) -> tuple[Any, Any]:
    """Attach what follows the run; return what trains until it is to stop, and the alarms. `started` is when the run
    would have begun in one go."""
    from transformers.trainer_callback import PrinterCallback

    from posttrain.stages.alarms import Alarmed
    from posttrain.stages.nonfinite import WholeWeights
    from posttrain.stages.stop import StopInTime
    from posttrain.stages.watch import MetricsWriter, Patience, ProgressLine

    stop, alarmed = StopInTime(trainer), Alarmed(job.recipe, job.run)
    trainer.remove_callback(PrinterCallback)
    for callback in (
        MetricsWriter(job.run / directory.METRICS, started),
        ProgressLine(job.recipe.stage),
        WholeWeights(trainer, job.parent.name),
        alarmed,
        stop,
    ):
        trainer.add_callback(callback)
    if job.recipe.eval.patience is not None:
        trainer.add_callback(Patience(job.recipe.eval.patience))
    return stop, alarmed


def _finish(trainer: Any, job: Job, loaded: Loaded, started: float) -> None:
    """Write final/ with its lineage, then run.json; say what was reached."""
    from posttrain.model.save import save_final
    from posttrain.stages.alarms import rung
    from posttrain.stages.nonfinite import check_weights

    check_weights(trainer, "final/ is not written:")
    final = job.run / directory.FINAL
    state = trainer.state
    rows = read_rows(job.run / directory.METRICS)
    looks = dev_rows(rows)
    document = {
        **finished_document(job.run, job.recipe, job.parent, loaded.digest),
        "steps": state.global_step,
        "tokens": int(state.num_input_tokens_seen or rows[-1].get("num_tokens") or 0) if rows else 0,
        "seconds": round(time.time() - started, 1),
        "skipped_steps": int(sum(row.get("skipped_steps") or 0 for row in rows)),
        "alarms": [{"step": ring["step"], "alarm": ring["alarm"]} for ring in rung(job.run)],
        "train": train_settings(job.recipe),
        "smaller_batches": directory.smaller_batches(job.run),
        "rows": {
            "train": None if loaded.stream else len(job.train_dataset),
            "dev": len(job.dev_dataset or ()),
            "problems": len(job.problems),
        },
        "versions": {"posttrain": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "hardware": _hardware(trainer),
        "metrics": {
            "train": next((row for row in reversed(rows) if row["split"] == "train"), None),
            "dev_before": looks[0] if looks else None,
            "dev_after": _dev_after(trainer, looks),
        },
    }
    lineage = [*job.parent.lineage, generation(document)]
    save_final(trainer, job.tokenizer, final, job.recipe.model, job.parent, lineage=lineage)
    if trainer.is_world_process_zero():
        directory.write_json(job.run / directory.RUN, document)
        say(_summary(job, document))
    trainer.accelerator.wait_for_everyone()


def _dev_after(trainer: Any, looks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the look that belongs to final/: the best checkpoint's where one is kept, else the last."""
    best = trainer.state.best_model_checkpoint
    if best and trainer.args.load_best_model_at_end:
        step = checkpoints.step_of(Path(best))
        return next((look for look in looks if look["step"] == step), None)
    return looks[-1] if looks else None


def _hardware(trainer: Any) -> dict[str, Any]:
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "processes": trainer.accelerator.num_processes,
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _summary(job: Job, document: dict[str, Any]) -> str:
    """Return the closing lines: what was reached, in how long, and what to type next."""
    lines = [f"{job.recipe.stage} done: {document['steps']} steps in {document['seconds']:,.0f} s -> {job.run}"]
    before, after = document["metrics"]["dev_before"], document["metrics"]["dev_after"]
    for name in dict.fromkeys(("loss", "reward", "pass@1", f"pass@{max(job.recipe.eval.k)}", "rewards/accuracies")):
        if before and after and isinstance(before.get(name), float) and isinstance(after.get(name), float):
            error = after.get(f"{name}_stderr")
            lines.append(
                f"  dev {name}: {before[name]:.3f} -> {after[name]:.3f}" + (f" ± {error:.3f}" if error else "")
            )
    lines.append(f"next: posttrain eval EVAL.yaml --model {job.parent.name} --model {job.run}")
    return "\n".join(lines)
