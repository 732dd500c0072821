"""Alarms on histories made up by hand: each figure, when it rings, that it rings once, and what follows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from posttrain.data.records import Problem
from posttrain.engines.sampling import Completion
from posttrain.errors import GateError
from posttrain.evals.summary import Graded
from posttrain.recipe.alarms import ALARMS
from posttrain.recipe.schema import Alarms, Recipe
from posttrain.runs.directory import recipe_digest
from posttrain.runs.metrics import append_row, read_rows
from posttrain.stages import alarms
from posttrain.stages.rlvr.rewards import identical, repetition


def history(train: dict[str, list[Any]], dev: dict[int, dict[str, float]] | None = None) -> alarms.History:
    """Rows of steps 1, 2, … with a list of values a metric, and looks at steps."""
    found = alarms.History()
    steps = max(map(len, train.values()))
    for i in range(steps):
        found.add({"step": i + 1, "split": "train"} | {name: values[i] for name, values in train.items()})
    for step, values in (dev or {}).items():
        found.add({"step": step, "split": "dev"} | values)
    return found


def test_every_alarm_has_a_figure_and_every_figure_an_alarm() -> None:
    assert alarms.FIGURES.keys() == ALARMS.keys()
    for name, figure in alarms.FIGURES.items():
        assert figure(alarms.History()) is None, name
        assert ALARMS[name].what.format(0.25) and ALARMS[name].fix


def test_a_figure_is_a_mean_of_five_steps() -> None:
    clipped = alarms.FIGURES["truncated"]
    assert clipped(history({"completions/clipped_ratio": [1.0] * 4})) is None
    assert clipped(history({"completions/clipped_ratio": [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]})) == pytest.approx(0.3)
    assert clipped(history({"completions/clipped_ratio": [0.1, 0.2, None, 0.4, 0.5]})) is None


def test_the_reward_is_compared_with_its_best() -> None:
    figure = alarms.FIGURES["reward"]
    assert figure(history({"reward": [0.2] * 5 + [0.8] * 5 + [0.4] * 2})) == pytest.approx(
        (0.8 * 3 + 0.4 * 2) / 5 / 0.8
    )
    assert figure(history({"reward": [0.2] * 5 + [0.8] * 5 + [0.2] * 5})) == pytest.approx(0.25)
    assert figure(history({"reward": [0.0] * 10})) == math.inf
    assert figure(history({"reward": [0.2] * 5})) is None


def test_entropy_rings_where_it_fell_not_where_it_always_was() -> None:
    figure = alarms.FIGURES["entropy"]
    assert figure(history({"entropy": [0.04] * 10})) == math.inf
    assert figure(history({"entropy": [0.2] * 5 + [0.11, 0.1, 0.09, 0.1, 0.1]})) == math.inf
    assert figure(history({"entropy": [0.2] * 5 + [0.05, 0.04, 0.03, 0.02, 0.01]})) == pytest.approx(0.03)


def test_what_doubled_counts() -> None:
    figure = alarms.FIGURES["identical"]
    assert figure(history({"completions/identical": [0.4] * 5 + [0.7] * 5})) == 0
    assert figure(history({"completions/identical": [0.1] * 5 + [0.6] * 5})) == pytest.approx(0.6)
    assert alarms.FIGURES["repetition"](history({"completions/repetition": [0.0] * 10})) == 0


def test_length_that_pays_is_no_run_away() -> None:
    longer = [10.0] * 5 + [30.0] * 5
    figure = alarms.FIGURES["length"]
    assert figure(history({"completions/mean_length": longer, "reward": [0.5] * 10})) == pytest.approx(3.0)
    assert figure(history({"completions/mean_length": longer, "reward": [0.5] * 5 + [0.6] * 5})) == 0


def test_the_gap_between_training_and_held_out_rewards() -> None:
    train = {"reward": [0.3] * 5 + [0.5] * 5 + [0.7] * 5}
    figure = alarms.FIGURES["reward_gap"]
    # From the best look, at step 10, where training was at 0.5, to step 15: 0.2 up and 0.15 down.
    fell = {0: {"reward": 0.3}, 10: {"reward": 0.5}, 15: {"reward": 0.35}}
    assert figure(history(train, fell)) == pytest.approx(0.35)
    assert figure(history(train, {0: {"reward": 0.3}, 15: {"reward": 0.31}})) == 0  # both rose
    assert figure(history({"reward": [0.5] * 15}, {0: {"reward": 0.5}, 15: {"reward": 0.2}})) == 0  # both did not
    assert figure(history(train, {0: {"reward": 0.3}})) is None


def test_chosen_answers_that_fall_window_by_window() -> None:
    figure = alarms.FIGURES["chosen"]
    assert figure(history({"rewards/chosen": [-0.5] * 5 + [-1.0] * 5 + [-2.0] * 5})) == pytest.approx(-2.0)
    assert figure(history({"rewards/chosen": [-0.5] * 5 + [-3.0] * 5 + [-2.0] * 5})) == 0
    assert figure(history({"rewards/chosen": [-1.0] * 14})) is None


def test_losses() -> None:
    assert alarms.FIGURES["loss"](history({"loss": [0.5] * 5 + [1.0] * 5})) == pytest.approx(2.0)
    figure, train = alarms.FIGURES["dev_loss"], {"loss": [1.0] * 5 + [0.6] * 5 + [0.3] * 5}
    looks = {0: {"loss": 1.1}, 10: {"loss": 0.8}, 15: {"loss": 1.0}}
    assert figure(history(train, looks)) == pytest.approx(1.25)
    assert figure(history({"loss": [0.5] * 15}, looks)) == 0
    assert figure(history({"loss": [0.5] * 15}, {0: {"reward": 0.1}, 5: {"reward": 0.2}})) is None


def watch(stage: str = "rlvr", **settings: Any) -> alarms.Watch:
    return alarms.Watch(stage, Alarms(**settings))


def rings(watched: alarms.Watch, name: str, values: list[float]) -> list[tuple[int, str]]:
    rows = [{"step": i + 1, "split": "train", name: value} for i, value in enumerate(values)]
    return [(ring.step, ring.alarm) for row in rows for ring in watched.add(row)]


def test_an_alarm_rings_once_and_again_after_it_got_better() -> None:
    values = [0.4] * 8 + [0.0] * 5 + [0.5] * 6
    # The mean of five is above 0.3 from step 5 on, below it from step 10 on, and 0.4 at step 17.
    assert rings(watch(), "completions/clipped_ratio", values) == [(5, "truncated"), (17, "truncated")]


def test_thresholds_and_silence() -> None:
    values = [0.4] * 6
    assert rings(watch(thresholds={"truncated": 0.5}), "completions/clipped_ratio", values) == []
    assert rings(watch(silent=["truncated"]), "completions/clipped_ratio", values) == []
    assert rings(watch("sft"), "completions/clipped_ratio", values) == []


def recipe(**settings: Any) -> Recipe:
    data = {"train": [{"path": "x.jsonl"}]}
    return Recipe.model_validate(
        {"stage": "rlvr", "out": "x", "data": data, "graders": [{"type": "number"}], "alarms": settings}
    )


def follow(followed: alarms.Alarmed, steps: range, **logs: float) -> SimpleNamespace:
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    for step in steps:
        state = SimpleNamespace(global_step=step, max_steps=20, is_world_process_zero=True)
        followed.on_log(None, state, control, logs=dict(logs))
    return control


def test_what_rings_is_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    control = follow(alarms.Alarmed(recipe(), tmp_path), range(1, 8), **{"rollout/equal_rewards": 1.0})
    said = capsys.readouterr().err
    assert said.count("warning:") == 1 and "step 5" in said
    assert "in 100% of the groups" in said and "above 0.8" in said and "easier ones" in said
    (row,) = alarms.rung(tmp_path)
    assert (row["step"], row["alarm"], row["figure"], row["threshold"]) == (5, "equal_rewards", 1.0, 0.8)
    assert row["says"] in said and not control.should_training_stop


def test_an_alarm_can_stop_the_run_which_goes_on_past_it(tmp_path: Path) -> None:
    followed = alarms.Alarmed(recipe(stop=["truncated"]), tmp_path)
    followed.check()
    control = follow(followed, range(1, 7), **{"completions/clipped_ratio": 0.5})
    assert control.should_save and control.should_training_stop
    with pytest.raises(GateError, match=r"(?s)stopped at step 5: 50% of the completions were cut off.*goes on") as stop:
        followed.check()
    assert stop.value.exit_code == 3
    # Resumed from the checkpoint of step 5: the alarm is still on, and does not ring again; one of step 6 is forgotten.
    for step in range(1, 6):
        append_row(tmp_path / "metrics.jsonl", {"step": step, "split": "train", "completions/clipped_ratio": 0.5})
    append_row(tmp_path / alarms.FILE, {"step": 6, "alarm": "kl"})
    resumed = alarms.Alarmed(recipe(stop=["truncated"]), tmp_path)
    resumed.on_train_begin(None, SimpleNamespace(global_step=5, is_world_process_zero=True), None)
    assert not follow(resumed, range(6, 10), **{"completions/clipped_ratio": 0.5}).should_training_stop
    assert [row["alarm"] for row in read_rows(tmp_path / alarms.FILE)] == ["truncated"]


def group(name: str, *texts: str) -> Graded:
    return Graded(Problem([{"role": "user", "content": name}]), [Completion(text, 1, False) for text in texts], [])


def test_completions_that_another_problem_got_too() -> None:
    groups = [group("a", "yes", "yes", "no"), group("b", "yes ", "maybe", "maybe")]
    assert identical(groups) == pytest.approx(3 / 6)
    assert identical([group("a", "yes", "yes")]) == 0


def test_what_a_completion_says_again() -> None:
    # 7 words have four 4-grams; "a b c a b c a" has a b c a twice.
    groups = [group("a", "a b c a b c a", "one two three four five")]
    assert repetition(groups) == pytest.approx((1 / 4 + 0) / 2)


def test_the_page_has_every_alarm_with_its_threshold() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alarms.md").read_text(encoding="utf-8")
    for name, about in ALARMS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {about.threshold:g} |" in row and f"| {', '.join(about.stages)} |" in row
    assert json.dumps(alarms.WINDOW) in page


def test_alarms_and_the_limit_of_errors_may_change_when_a_run_goes_on() -> None:
    def digest(**rollout: float) -> str:
        return recipe_digest({**recipe().model_dump(mode="json"), "rollout": rollout})

    assert recipe_digest(recipe(nonfinite="skip").model_dump(mode="json")) == recipe_digest(
        recipe(stop=["truncated"]).model_dump(mode="json")
    )
    assert digest(temperature=1.0, max_grader_errors=0.2) == digest(temperature=1.0, max_grader_errors=0.9)
    assert digest(temperature=1.0) != digest(temperature=0.5)
