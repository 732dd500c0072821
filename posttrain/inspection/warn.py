"""What in the figures a person should act on, the weightiest first, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOST_SHARE = 0.01  # of rows cut: fewer do no harm that a limit twice as long would be worth
REPEATED_SHARE = 0.01  # of rows: below, a repeat is like a second epoch over one row in a hundred
BIAS_FROM = 0.1  # of the share 0.5; pairs of people lean to longer answers by less than this without harm
LABEL_TOKENS = 8  # trained tokens a row: answers so short are labels, of which one must be wrong
CONSTANT_SHARE = 0.5  # of one gold answer: always saying it would pass as often
RARE_LABEL = 0.1  # of thumbs: KTO's weights then exceed 9, and a few rows carry half of the loss
LEAK_SHARE = 0.2  # of answers in the prompt: choices and extraction tasks hold some of theirs by their nature
TEXT_SHARE = {  # of rows with an odd text; below, they are too few to be learnt
    "replacement_character": 0.0,
    "mojibake": 0.0,
    "blank_prompt": 0.0,
    "refusal": 0.01,
    "html": 0.01,
    "ends_mid_sentence": 0.01,
    "repeats_itself": 0.01,
    "answer_in_prompt": 0.01,
}
_TEXTS = {
    "replacement_character": "hold �, a character lost in decoding: read the original files as UTF-8 again",
    "mojibake": "hold text decoded wrongly (Ã©, â€™): mend it, e.g. with ftfy, before training",
    "blank_prompt": "have a blank prompt: remove them, or map the right column with `columns`",
    "refusal": "refuse or say that they are an AI: keep them only if the model should",
    "html": "hold HTML tags outside code: strip them unless the task wants HTML",
    "ends_mid_sentence": "end mid-sentence: answers cut at a token limit teach to stop there; remove them",
    "repeats_itself": "repeat one phrase again and again: remove them",
    "answer_in_prompt": "have the whole answer in their prompt: make sure that copying is the task",
}
_LEFT_OUT = {
    "had no trained token": "raise train.max_length, or set data.too_long: keep_end",
    "had a prompt that fills max_length": "raise train.max_length, or set data.too_long: keep_end",
    "differed only after max_length": "raise train.max_length, or set data.too_long: keep_end",
    "differed only before the last max_length tokens": "raise train.max_length, or set data.too_long: keep_start",
}


def warnings_of(found: dict[str, Any]) -> list[str]:
    """A sentence each; empty where there is nothing to warn of. In the order of weight: rows that do not train or
    train the wrong thing, then those that skew, then those that only cost."""
    return [*_not_trained(found), *_wrong(found), *_skewed(found), *_costly(found), *_texts(found)]


def _not_trained(found: dict[str, Any]) -> Iterator[str]:
    bad = found["unreadable"]
    if bad["rows"]:
        yield (
            f"{_rows(bad['rows'])} cannot be read by the model: {bad['why']} ({', '.join(bad['examples'])}); "
            "set model.chat_template, or name the model that you mean with --model"
        )
    for why, count in found["left_out"].items():
        mend = _LEFT_OUT.get(why)
        if mend is None:
            mend = (
                "raise rollout.max_prompt_tokens" if why.startswith("had a prompt above") else "`data show` shows them"
            )
        yield f"{_rows(count)} will be left out, which {why}: {mend}"


def _wrong(found: dict[str, Any]) -> Iterator[str]:
    if found.get("contradictions"):
        what = "pairs stand both ways round" if found["stage"] == "dpo" else "answers have thumbs both up and down"
        yield f"{found['contradictions']:,} {what}: they cancel out; keep one verdict of each"
    labels = found.get("labels")
    if labels and not labels["weights"]:
        yield f"every thumb is {'up' if labels['up'] else 'down'}: KTO needs both; add the others, or use sft"
    elif labels and (rare := min(labels["up"], labels["down"]) / (labels["up"] + labels["down"])) < RARE_LABEL:
        side = "up" if labels["up"] < labels["down"] else "down"
        yield f"only {rare:.1%} of thumbs are {side}: few rows carry half of the loss; collect more of them"
    answers = found.get("answers", {})
    if answers.get("kinds", {}).get("none") and len(answers["kinds"]) > 1:
        yield f"{_rows(answers['kinds']['none'])} have no gold answer though others do: fill them, or remove them"
    differ = found["prompts"]["with_different_answers"]
    if differ and found["stage"] in ("rlvr", "eval") and answers.get("times"):
        yield f"{differ:,} prompts come with different gold answers: one of them is graded wrongly; keep the right one"

    if differ and found["stage"] == "sft" and "trained" in found and found["trained"]["mean"] < LABEL_TOKENS:
        yield f"{differ:,} prompts come with different short answers: if they are labels, keep the right one of each"


def _skewed(found: dict[str, Any]) -> Iterator[str]:
    bias = found.get("length_bias")
    if bias and bias["share"] is not None and abs(bias["share"] - 0.5) >= BIAS_FROM:
        low, high = bias["interval"]
        if not low <= 0.5 <= high:
            longer = "longer" if bias["share"] > 0.5 else "shorter"
            share = max(bias["share"], 1 - bias["share"])
            yield (
                f"chosen is the {longer} answer in {share:.0%} of pairs: DPO may learn length instead of quality; "
                "balance the pairs by length, or set train.ld_alpha below 1 (LD-DPO)"
            )
    answers = found.get("answers", {})
    if answers.get("share", 0) >= CONSTANT_SHARE and found["counted"] > 1:
        yield (
            f"{answers['share']:.0%} of gold answers are {_short(answers['most_common'])}: always saying it passes as "
            "often; balance the answers"
        )


def _costly(found: dict[str, Any]) -> Iterator[str]:
    cut = found.get("truncation")
    if cut and cut["rows"] > LOST_SHARE * found["counted"] and found["stage"] not in ("rlvr", "eval"):
        yield (
            f"{_rows(cut['rows'])} ({cut['rows'] / found['counted']:.1%}) are longer than "
            f"{cut['max_length']:,} tokens: train.max_length: {cut['max_length_for_99_percent']} keeps 99% whole"
        )
    exact, normalised = found["duplicates"]["exact"], found["duplicates"]["normalised"]
    if normalised > REPEATED_SHARE * found["counted"]:
        yield (
            f"{_rows(normalised)} ({normalised / found['counted']:.1%}) repeat an earlier one, "
            f"{exact:,} of them exactly: they weigh double; `posttrain data dedup` removes them"
        )


def _texts(found: dict[str, Any]) -> Iterator[str]:
    for name, seen in found["suspicious"].items():
        if seen["rows"] > TEXT_SHARE[name] * found["counted"] and not _by_nature(name, seen["rows"], found):
            yield f"{_rows(seen['rows'])} {_TEXTS[name]} ({', '.join(seen['examples'])})"


def _by_nature(name: str, rows: int, found: dict[str, Any]) -> bool:
    """Whether problems hold their answers as choices or passages do."""
    return name == "answer_in_prompt" and "answers" in found and rows <= LEAK_SHARE * found["counted"]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
