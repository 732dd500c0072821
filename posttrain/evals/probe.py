"""`posttrain grade --probe`: is this grader fit to pay a reward? It is tried on answers whose verdict is known.

A policy finds whatever its grader lets through. So the gold answers must pass; an empty answer, another row's gold,
the prompt said back and all labels at once must not, and a model that judges must not be opened by a "master key".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.data.read import read_rows
from posttrain.evals import probe_answers as answers
from posttrain.evals.offline import error_kinds, problem_of, read_grader
from posttrain.evals.probe_answers import Row
from posttrain.evals.trials import Trials
from posttrain.graders import Grader, GraderSettings, build
from posttrain.graders.grade import shortened
from posttrain.progress import progress

ROWS = 100
JUDGE_ROWS = 20
"""So many rows are tried by each probe; a model that judges costs seconds and money."""
JUDGES = {"score_model", "label_model"}
STEP_COMPLETIONS = 512
EXAMPLES, SHOWN = 20, 3
"""So many examples of what is wrong are kept for each probe, and shown to people."""


class Limit(NamedTuple):
    """The shares of passes above which a probe warns and fails, what that would mean, and why there may be no try."""

    warn: float
    fail: float
    reason: str
    skipped: str


LIMITS = {
    "empty answer": Limit(0.0, 0.0, "a policy that says nothing is paid", "no row can be graded"),
    "shuffled gold": Limit(0.05, 0.25, "the answers of other rows are paid", "there are no two different gold answers"),
    "prompt echo": Limit(0.05, 0.5, "saying the prompt back is paid", "the rows have no prompt"),
    "all labels": Limit(
        0.0,
        0.1,
        "naming every label is paid: compare with equals, or ask for one marked answer",
        f"there is no small set of answers (2 to {answers.MAX_LABELS})",
    ),
    "master keys": Limit(0.0, 0.2, "a text that says nothing opens the judge", "no model judges"),
}
ERRORS_FAIL = 0.1
"""The share of grades above which the grader's own errors fail the probe; any warn."""


class Finding(NamedTuple):
    """What one probe found; `verdict` is pass, warn, fail or skip, and `examples` are the first places that say so."""

    probe: str
    verdict: str
    message: str
    tried: int = 0
    passed: int = 0
    mean: float | None = None
    examples: tuple[str, ...] = ()


def probe_file(grader_file: Path, rows_file: Path, limit: int | None = None) -> dict[str, Any]:
    """Return the findings on a grader and the rows that it is to grade; a row's `completion` is not looked at.

    At most `limit` rows are tried by each probe: 100 when it is None, 20 where a model judges. The fields are looked
    at on every row, and without a limit and a judge all gold answers are tried. The document is {"verdict", "rows",
    "tried", "findings": [{"probe", "verdict", "message", "tried", "passed", "mean", "examples"}], "error_kinds",
    "seconds"}. Raises UserErrors when the grader or the rows cannot be read.
    """
    settings = read_grader(grader_file)
    grader = build(settings, grader_file.parent)
    placed = [(problem_of(row), place) for row, place in read_rows(str(rows_file))]
    rows, refused = answers.read_golds(grader, placed)
    grader.ready()
    judged = is_judged(settings)
    tried = answers.sample(rows, limit or (JUDGE_ROWS if judged else ROWS))
    batches = {
        "gold": answers.golds(tried if judged or limit else rows),
        "empty answer": answers.empty(tried),
        "shuffled gold": answers.shuffled(tried),
        "prompt echo": answers.echoes(tried),
        "all labels": answers.all_labels(tried, rows),
        "master keys": answers.master_keys(tried) if judged else [],
    }
    with progress("probing", sum(map(len, batches.values()))) as advance:
        trials = Trials(grader, advance)
        for name, batch in batches.items():
            trials.run(name, batch)
    findings = [
        _fields(len(placed), {**refused, **trials.refused}),
        _gold(trials, must_pass=any(row.made for row in rows)),
        *(_rated(name, trials, paid=grader.role == "score") for name in LIMITS),
        _constant(rows),
        _range(trials, getattr(settings, "range", None)),
        _errors(trials),
        _time(trials, grader),
    ]
    verdicts = {finding.verdict for finding in findings}
    return {
        "verdict": next(verdict for verdict in ("fail", "warn", "pass", "skip") if verdict in verdicts),
        "rows": len(placed),
        "tried": len(tried),
        "findings": [finding._asdict() for finding in findings],
        "error_kinds": error_kinds(trials.grades()),
        "seconds": {"p50": trials.seconds(0.5), "p95": trials.seconds(0.95)},
    }


def render(document: Mapping[str, Any]) -> str:
    """Return the document as lines for people."""
    width = max(len(finding["probe"]) for finding in document["findings"])
    lines = []
    for finding in document["findings"]:
        lines.append(f"{finding['verdict']}  {finding['probe']:{width}}  {finding['message']}")
        lines += [f"{'':{width + 6}}  {example}" for example in finding["examples"][:SHOWN]]
        if len(finding["examples"]) > SHOWN:
            lines.append(f"{'':{width + 6}}  … (--json has more)")
    tried, rows = document["tried"], document["rows"]
    return "\n".join([*lines, f"{document['verdict']}: tried on {tried:,} of {rows:,} rows"])


def failures(document: Mapping[str, Any]) -> str:
    """Return the names of the probes that failed."""
    return ", ".join(finding["probe"] for finding in document["findings"] if finding["verdict"] == "fail")


def is_judged(settings: GraderSettings) -> bool:
    """Tell whether the grader, or a part of it, asks a model."""

    def types(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield value.get("type")
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from types(inner)

    return any(kind in JUDGES for kind in types(settings.model_dump(mode="json")) if isinstance(kind, str))


def _fields(rows: int, refused: Mapping[str, str]) -> Finding:
    """Every row has what the grader reads."""
    if not refused:
        return Finding("fields", "pass", f"the grader finds what it reads in {rows:,} of {rows:,} rows")
    examples = tuple(f"{place}: {complaint}" for place, complaint in islice(refused.items(), EXAMPLES))
    return Finding("fields", "fail", f"{len(refused):,} of {rows:,} rows cannot be graded", examples=examples)


def _gold(trials: Trials, *, must_pass: bool) -> Finding:
    """The gold answers pass."""
    counts = trials.counts("gold")
    if not trials.done["gold"]:
        return Finding("gold", "skip", "the grader makes no gold answer, and the rows have no answer field")
    missed = [(trial, grade) for trial, grade in trials.done["gold"] if not grade.passed]
    examples = tuple(
        f"{trial.place}: {grade.error or grade.note or 'no reason is given'}" for trial, grade in missed[:EXAMPLES]
    )
    verdict = "pass" if not missed else "fail" if must_pass else "warn"
    return Finding("gold", verdict, counts.said(), *counts, examples)


def _rated(name: str, trials: Trials, *, paid: bool) -> Finding:
    """Few enough of the probe's answers pass. A grader that is not paid only warns."""
    limit, counts = LIMITS[name], trials.counts(name)
    if not trials.done[name]:
        return Finding(name, "skip", limit.skipped if trials.grades() else "no row can be graded")
    if not counts.tried:
        return Finding(name, "skip", "every grade was an error")
    rate, said = counts.passed / counts.tried, counts.said()
    if name == "master keys" and counts.passed:
        text, rate = trials.worst_text(name)
        said += f", {rate:.0%} of {text!r}"
    if rate <= limit.warn:
        return Finding(name, "pass", said, *counts)
    verdict = "fail" if rate > limit.fail and paid else "warn"
    passed = [trial for trial, grade in trials.done[name] if grade.passed]
    examples = tuple(f"{trial.place}: {shortened(trial.text)!r}" for trial in passed[:EXAMPLES])
    return Finding(name, verdict, f"{said}: {limit.reason}", *counts, examples)


def _constant(rows: Sequence[Row]) -> Finding:
    """The gold answers differ."""
    found = Counter(row.gold for row in rows if row.gold is not None)
    if found.total() < 2:
        return Finding("constant gold", "skip", "there are no two gold answers")
    if len(found) == 1:
        return Finding("constant gold", "warn", "all rows have the same: a policy need not read the prompt")
    share = max(found.values()) / found.total()
    said = f"{len(found):,} different ones in {found.total():,} rows, {share:.0%} have the commonest"
    return Finding("constant gold", "pass", said)


def _range(trials: Trials, declared: Sequence[float] | None) -> Finding:
    """Every score is in the range that the grader declares or from 0 to 1."""
    if not trials.grades():
        return Finding("range", "skip", "nothing was graded")
    low, high = declared or (0.0, 1.0)
    scores = [grade.score for grade in trials.grades() if not grade.error]
    outside = [score for score in scores if score is None or not low <= score <= high]
    if not outside:
        return Finding("range", "pass", f"{len(scores):,} scores, all from {low:g} to {high:g}")
    verdict = "fail" if declared else "warn"
    return Finding("range", verdict, f"{len(outside):,} scores are not from {low:g} to {high:g}, as {outside[0]}")


def _errors(trials: Trials) -> Finding:
    """The grader itself does not fail."""
    pairs = [pair for pairs in trials.done.values() for pair in pairs]
    failed = [(trial, grade) for trial, grade in pairs if grade.error]
    if not failed:
        return Finding("grader errors", "pass", "none")
    kinds = ", ".join(f"{kind} {count}" for kind, count in error_kinds(trials.grades()).items())
    verdict = "fail" if len(failed) > ERRORS_FAIL * len(pairs) else "warn"
    examples = tuple(f"{trial.place}: {grade.error}" for trial, grade in failed[:EXAMPLES])
    return Finding("grader errors", verdict, f"{kinds} in {len(pairs):,} grades", examples=examples)


def _time(trials: Trials, grader: Grader) -> Finding:
    """How long a grade takes, and what that makes of a training step."""
    if not trials.grades():
        return Finding("time", "skip", "nothing was graded")
    half, most = (_duration(trials.seconds(share)) for share in (0.5, 0.95))
    step = _duration(STEP_COMPLETIONS * trials.mean_seconds() / grader.parallel)
    at_once = f", {grader.parallel} at once" if grader.parallel > 1 else ""
    return Finding("time", "pass", f"p50 {half}, p95 {most}; {STEP_COMPLETIONS} grades take about {step}{at_once}")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
