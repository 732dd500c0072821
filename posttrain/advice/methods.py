"""The advice: for each method whether it fits, and why, in the order in which they are worth trying.

The order and the sizes are the talk's: a prompt and your own eval first; about 1,000 rows to imitate; pairs or thumbs
for what is better; problems with answers that can be checked, where the model solves some already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from posttrain.advice.facts import Facts, Fit
from posttrain.advice.grading import Trial, try_graders
from posttrain.advice.measured import Measured
from posttrain.data.records import Chat, Problem

Verdict = Literal["first", "fits", "once", "no"]

ENOUGH = 1000  # rows to imitate
FEW = 100  # below this many rows, imitation and preferences teach the rows and not the task
FEW_PROBLEMS = 10
_WORKED = 60  # characters of an answer that shows how it was reached
_LOPSIDED = 0.6  # share of pairs with a longer chosen answer from which length is part of what is taught


@dataclass
class Advice:
    """One method: `verdict`, `condition` (``fits once …``), the facts behind it, and what is to be done.

    `startable`: a recipe can be written, although the method may have to wait for another one.
    """

    method: str
    verdict: Verdict
    condition: str = ""
    why: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    startable: bool = False


@dataclass
class Situation:
    """What there is: the sources of each method, training ones apart from held-out ones, and the graders tried."""

    sources: list[Facts]
    train: dict[str, list[Facts]]
    held_out: dict[str, list[Facts]]
    trials: dict[int, Trial]
    measured: Measured | None
    lines: list[Measured]

    def rows(self, stage: str) -> int:
        """Training rows of a stage."""
        return sum(facts.fits[stage].rows for facts in self.train[stage])

    def gradable(self, part: dict[str, list[Facts]]) -> list[Facts]:
        """The sources of problems in `part` that a grader fits and that need no tools."""
        return [facts for facts in part["rlvr"] if self.trial(facts) is not None and not facts.fits["rlvr"].tools]

    def trial(self, facts: Facts) -> Trial | None:
        """The grader that fits the source's answers."""
        trial = self.trials.get(id(facts))
        return trial if trial and trial.fits else None


def situation(sources: Sequence[Facts], signal: Measured | None, lines: Sequence[Measured]) -> Situation:
    """Sort the sources by what they are good for. Where all of a kind are held out by name, they count as training."""
    trials: dict[int, Trial] = {}
    for facts in sources:
        if fit := facts.fits.get("rlvr"):
            trial = try_graders([record for record in fit.sample if isinstance(record, Problem)])
            trials |= {id(facts): trial} if trial else {}
    train: dict[str, list[Facts]] = {}
    held_out: dict[str, list[Facts]] = {}
    for stage in ("sft", "dpo", "kto", "rlvr"):
        of_stage = [facts for facts in sources if stage in facts.fits and _meant_for(facts, stage, trials)]
        train[stage] = [facts for facts in of_stage if not facts.held_out]
        held_out[stage] = [facts for facts in of_stage if facts.held_out]
        if not train[stage]:
            train[stage], held_out[stage] = held_out[stage], []
    return Situation(list(sources), train, held_out, trials, signal or next(iter(lines), None), list(lines))


def _meant_for(facts: Facts, stage: str, trials: dict[int, Trial]) -> bool:
    if stage != "sft":
        return True
    if "kto" in facts.fits:
        return False  # half of the answers are bad ones
    return not facts.fits["sft"].guessed or _is_worked(facts) or _is_label(facts, trials)


def _is_worked(facts: Facts) -> bool:
    """Whether the answers to imitate show how they were reached."""
    chats = [record for record in facts.fits["sft"].sample if isinstance(record, Chat)]
    return median(len(chat.messages[-1]["content"]) for chat in chats) >= _WORKED


def _is_label(facts: Facts, trials: dict[int, Trial]) -> bool:
    """Whether an answer is one of a few words, which needs no working out."""
    trial = trials.get(id(facts))
    return trial is not None and trial.options["type"] == "string_check" and len(facts.answers) <= 200


def advise(here: Situation) -> list[Advice]:
    """The advice on each method, in order."""
    methods: list[Callable[[Situation], Advice]] = [_prompt, _sft, _dpo, _kto, _rlvr]
    found = [method(here) for method in methods]
    for advice in found:
        advice.startable = advice.startable or advice.verdict == "fits"
    return found


def _prompt(here: Situation) -> Advice:
    advice = Advice("prompt", "first")
    for line in here.lines[:3]:
        advice.why.append(f"measured: {line.label} is right {line.rate:.0%} of the time on {line.problems:,} problems")
    measurable = here.gradable(here.held_out) or here.gradable(here.train)
    if not measurable:
        advice.why.append("a better prompt costs no training, but nothing here can be measured: no answer to check")
        advice.todo.append("write 50 to 200 problems of your own with answers that a grader can check (or a judge)")
        return advice
    advice.startable = True
    count = sum(facts.fits["rlvr"].rows for facts in measurable)
    grader = here.trials[id(measurable[0])].options["type"]
    bars = f"error bars of about ±{196 * math.sqrt(0.25 / count):.0f} points"
    held = "held out" if here.gradable(here.held_out) else "none held out yet"
    advice.why.append(f"{count:,} problems, {held}, that the grader {grader} checks: {bars}")
    if not here.lines:
        advice.todo.append("ask in several ways and measure each (row 0): posttrain eval eval.yaml")
    if count < FEW:
        advice.todo.append("add problems of your own: about 100 make a difference of 10 points visible")
    return advice


def _sft(here: Situation) -> Advice:
    rows, name = here.rows("sft"), _names(here.train["sft"])
    bare = [facts for facts in here.sources if "sft" in facts.fits and facts.fits["sft"].guessed]
    if not rows:
        advice = Advice("sft", "no", why=["no rows with answers to imitate"])
        if any("kto" in facts.fits for facts in here.sources):
            advice.why = ["the answers have thumbs, and some are bad: imitate only those that are good enough"]
        elif here.rows("dpo"):
            advice.why.append("the chosen answers of the pairs are a start, where they are good enough to imitate")
        elif bare and here.gradable(here.train):
            advice.why = ["the answers are bare: imitating them teaches to guess, not to work them out"]
        if here.gradable(here.train):
            advice.todo.append("if format or style is the problem: about 1,000 written answers, or the model's own")
            advice.todo.append("right ones (posttrain sample rlvr.yaml)")
            advice.todo = [" ".join(advice.todo)]
        else:
            advice.todo.append(f"about {ENOUGH:,} rows of a prompt and the answer that you would want")
        return advice
    advice = Advice("sft", "fits", why=[f"{rows:,} rows with answers to imitate ({name})"])
    advice.why += _oddities(here.train["sft"], "sft")
    if any(facts.fits["sft"].tools for facts in here.train["sft"]):
        advice.why.append("with tool calls, which are trained like any other turn")
    if here.measured and here.measured.solved:
        advice.verdict, advice.why = "no", [f"not needed: {_rate(here.measured)}"]
        return advice
    if rows < FEW:
        advice.verdict, advice.condition = "once", f"there are more rows: {rows:,} teach the rows, not the task"
        advice.todo.append(f"write more, to about {ENOUGH:,}; until then show a few of them in the prompt (shots)")
    elif rows < ENOUGH // 2:
        advice.todo.append(f"more rows, to about {ENOUGH:,}, help more than more epochs")
    elif rows > 2 * ENOUGH:
        advice.why.append(f"about {ENOUGH:,} are enough to begin with; good ones matter more than many")
    _hold_out(here, "sft", advice)
    return advice


def _dpo(here: Situation) -> Advice:
    pairs = here.rows("dpo")
    if not pairs:
        advice = Advice("dpo", "no", why=["no pairs of a better and a worse answer to one prompt"])
        if here.gradable(here.train):
            advice.todo.append("posttrain sample rlvr.yaml makes pairs of the model's own right and wrong answers")
        return advice
    advice = Advice("dpo", "fits", why=[f"{pairs:,} pairs ({_names(here.train['dpo'])})"])
    advice.why += _oddities(here.train["dpo"], "dpo")
    chosen = sum(facts.chosen_characters for facts in here.train["dpo"])
    rejected = sum(facts.rejected_characters for facts in here.train["dpo"])
    longer = sum(facts.chosen_longer for facts in here.train["dpo"]) / pairs
    ratio = chosen / max(1, rejected)
    advice.why.append(f"the chosen answer is longer in {longer:.0%} of pairs, {ratio:.1f} times as long on the whole")
    if longer > _LOPSIDED and ratio > 1.1:
        advice.todo.append("DPO will teach length too: balance the pairs by length, or watch how long answers become")
    elif longer < 1 - _LOPSIDED and ratio < 0.9:
        advice.todo.append("DPO will teach brevity too: good if that is meant")
    _few(advice, pairs, "pairs")
    _hold_out(here, "dpo", advice)
    if here.rows("sft"):
        advice.todo.append("after sft, whose model then is the reference")
    return advice


def _kto(here: Situation) -> Advice:
    rows = here.rows("kto")
    if not rows:
        advice = Advice("kto", "no", why=["no answers with a thumb up or down"])
        if here.rows("dpo"):
            advice.why[0] += "; pairs say more, and DPO takes them"
        return advice
    up = sum(facts.labels[True] for facts in here.train["kto"])
    advice = Advice("kto", "fits", why=[f"{rows:,} answers with a thumb, {up / rows:.0%} up"])
    advice.why += _oddities(here.train["kto"], "kto")
    if up in (0, rows):
        advice.verdict = "once"
        advice.condition = f"there are thumbs {'down' if up else 'up'} too: KTO learns from the contrast"
        return advice
    if not 0.2 <= up / rows <= 0.8:
        advice.why.append("lopsided; the two sides are weighted by their counts")
    _few(advice, rows, "thumbs")
    _hold_out(here, "kto", advice)
    return advice


def _rlvr(here: Situation) -> Advice:
    listed = here.train["rlvr"]
    if not listed:
        return Advice(
            "rlvr",
            "no",
            why=["no problems: prompts with an answer that can be checked"],
            todo=["where answers can be checked (a number, a label, JSON, code with tests): 10 problems are a start"],
        )
    with_tools = [facts for facts in listed if facts.fits["rlvr"].tools]
    usable = here.gradable(here.train)
    if not usable and with_tools:
        return Advice(
            "rlvr",
            "no",
            why=[f"the problems of {_names(with_tools)} need tools, and rlvr cannot call tools while it samples"],
            todo=["imitate conversations with tool calls instead: sft"],
        )
    if not usable:
        return _not_gradable(here, listed)
    problems = sum(facts.fits["rlvr"].rows for facts in usable)
    advice = Advice("rlvr", "fits", why=_oddities(usable, "rlvr"))
    for facts in usable:
        trial = here.trials[id(facts)]
        said = f"{facts.fits['rlvr'].rows:,} problems ({facts.name}); the grader {trial.options['type']} passes"
        advice.why.append(f"{said} {trial.share:.0%} of {trial.tried:,} gold answers")
        if trial.passed < trial.tried:
            advice.todo.append(f"mend or take out gold answers that do not pass, as {trial.complaint}")
        if not _shows_choices(facts.fits["rlvr"]):
            advice.todo.append(f"{facts.name}: the prompts do not show the choices: write them into the prompt")
        if _is_label(facts, here.trials):
            label, most = facts.answers.most_common(1)[0]
            share = most / facts.answers.total()
            advice.why.append(f"{len(facts.answers)} different answers; always saying {label!r} is right {share:.0%}")
    if with_tools:
        advice.todo.append(f"leave out {_names(with_tools)}: rlvr cannot call tools while it samples")
    if problems < FEW_PROBLEMS:
        advice.verdict, advice.condition = "once", f"there are at least {FEW_PROBLEMS} problems, not {problems}"
        return advice
    _by_pass_rate(here.measured, advice)
    advice.startable = advice.verdict != "no"
    _hold_out(here, "rlvr", advice)
    return advice


def _not_gradable(here: Situation, listed: Sequence[Facts]) -> Advice:
    """Problems are there, and no grader for them."""
    count = sum(facts.fits["rlvr"].rows for facts in listed)
    advice = Advice("rlvr", "once", "a grader can check the answers", [f"{count:,} prompts ({_names(listed)})"])
    tried = [trial for facts in listed if (trial := here.trials.get(id(facts)))]
    if tried:
        best = max(tried, key=lambda trial: trial.share)
        advice.why.append(f"the grader {best.options['type']} passes only {best.share:.0%} of the gold answers")
        advice.todo.append(f"make answers short and uniform; the first that does not pass: {best.complaint}")
    else:
        advice.why.append("no answer that a grader of ours could check")
    advice.todo.append(
        "add an `answer` column (number, label, JSON), tests for code, or grade by a judge (score_model)"
    )
    return advice


def _by_pass_rate(measured: Measured | None, advice: Advice) -> None:
    if measured is None:
        advice.verdict, advice.condition = "once", "it is known that the model solves some of them (above 0%)"
        advice.todo.append(
            "posttrain signal rlvr.yaml, then advise --signal OUT: at 0% there is no signal, above 95% no need"
        )
        return
    if measured.hopeless:
        advice.verdict, advice.condition = "once", "the model solves some: at 0% there is nothing to reinforce"
        advice.todo.append("sft first (or a better prompt, or easier problems), then posttrain signal again")
    elif measured.solved:
        advice.verdict = "no"
        advice.todo.append("take harder problems")
    elif measured.teaching == 0:
        advice.verdict, advice.condition = "once", "some problems are solved sometimes: each is always or never solved"
        advice.todo.append("more attempts (train.num_generations), or problems in between")
    advice.why.append(("not needed: " if measured.solved else "") + _rate(measured))
    if measured.teaching:
        advice.why.append(f"{measured.teaching:,} of {measured.problems:,} problems teach (rewards that differ)")


def _rate(measured: Measured) -> str:
    whose = f"{measured.label} is" if measured.label else "the model is"
    often = f", {measured.ever:.0%} of the problems solved in {measured.samples} attempts" * (measured.samples > 1)
    return f"{whose} right {measured.rate:.1%} of the time{often}"


def _few(advice: Advice, rows: int, what: str) -> None:
    if rows < FEW:
        advice.verdict, advice.condition = "once", f"there are more {what}: {rows:,} say little"
        advice.todo.append(f"collect some hundreds of {what}")


def _hold_out(here: Situation, stage: str, advice: Advice) -> None:
    held = here.held_out[stage]
    if held:
        advice.why.append(f"held out: {sum(facts.fits[stage].rows for facts in held):,} rows ({_names(held)})")
    else:
        advice.why.append("nothing is held out yet")


def _shows_choices(fit: Fit) -> bool:
    problem = fit.sample[0]
    assert isinstance(problem, Problem)
    choices = problem.fields.get("choices")
    return not isinstance(choices, list) or all(str(choice) in problem.prompt[-1]["content"] for choice in choices)


def _oddities(sources: Sequence[Facts], stage: str) -> list[str]:
    """What a user would want to know of rows that cannot be used."""
    lines = []
    for facts in sources:
        fit = facts.fits[stage]
        if fit.bad or facts.bad:
            lines.append(f"{fit.bad + facts.bad:,} rows cannot be read, the first: {fit.first_bad or facts.first_bad}")
        lines += [f"{count:,} rows are left out: {why}" for why, count in fit.unusable.items()]
    return lines


def _names(sources: Sequence[Facts]) -> str:
    return ", ".join(facts.name for facts in sources)
