"""The figures of a part in a terminal: a label and a line each, at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from posttrain.inspection.languages import INSTALL
from posttrain.visible import visible

WIDTH = 100
_LABEL = 13
_BAR = 40
_SHOWN = 4  # of languages, turns and kinds: the others are summed


def print_figures(console: Console, found: dict[str, Any], warnings: list[str]) -> None:
    """Print the figures of one part, its warnings last."""
    head = f"{found['part'] or 'rows'}: {found['counted']:,} rows ({found['stage']})"
    if found["counted"] < found["rows"]:
        head += f", a sample of {found['rows']:,}"
    _line(console, Text(head, "bold"))
    for label, said in _lines(found):
        _line(console, Text.assemble((f"  {label:<{_LABEL}}", "cyan"), visible(said)))
    if not warnings:
        _line(console, Text("  nothing to warn of", "green"))
    for warning in warnings:
        _line(console, Text.assemble(("  ! ", "bold yellow"), visible(warning)))


def _line(console: Console, text: Text) -> None:
    indent = 4 if text.plain.startswith("  !") else _LABEL + 2
    first, *rest = text.wrap(console, WIDTH) if len(text.plain) <= WIDTH else _wrapped(console, text, indent)
    for line in [first, *rest]:
        line.rstrip()
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _wrapped(console: Console, text: Text, indent: int) -> list[Text]:
    body = text[indent:].wrap(console, WIDTH - indent)
    return [text[:indent] + body[0], *(Text(" " * indent) + line for line in body[1:])]


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _lengths(found)
    same, prompts = found["duplicates"], found["prompts"]
    said = f"{same['exact']:,} exact, {same['normalised']:,} but for case and punctuation, {same['near']:,} nearly"
    said += f" (of {same['near_of']:,})" if same["near_of"] < found["counted"] else ""
    yield "repeated", said
    yield "prompts", f"{prompts['distinct']:,} different ones, {prompts['with_different_answers']:,} answered variously"
    if labels := found.get("labels"):
        weights = labels["weights"]
        weighed = f" · weights {weights[0]:.3g} and {weights[1]:.3g}" if weights else ""
        yield "thumbs", f"{labels['up']:,} up, {labels['down']:,} down{weighed}"
    if bias := found.get("length_bias"):
        yield "pairs", _bias(bias)
    if answers := found.get("answers"):
        said = _counted(answers["kinds"], found["counted"])
        if "times" in answers:
            said += f" · most common {_short(answers['most_common'])}, {answers['share']:.1%}"
        yield "answers", said
    yield from _conversation(found)
    languages = found["languages"]
    said = f"not counted: {INSTALL}" if languages["rows"] is None else _counted(languages["rows"], languages["sampled"])
    yield (
        "languages",
        said + (f" · of {languages['sampled']:,} rows" if languages["sampled"] < found["counted"] else ""),
    )
    odd = [f"{name.replace('_', ' ')} {seen['rows']:,}" for name, seen in found["suspicious"].items()]
    yield "odd texts", " · ".join(odd) or "none"


def _lengths(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    tokens = found["tokens"]
    if tokens is None:
        return
    percentiles = f"p50 {tokens['p50']:,} · p95 {tokens['p95']:,} · max {tokens['max']:,}"
    yield "tokens a row", f"{percentiles} · {tokens['total']:,} in all"
    most = max(each["rows"] for each in tokens["histogram"])
    for each in tokens["histogram"]:
        span = f"{each['start']:,}-{each['end'] - 1:,}"
        bar = "█" * (max(round(_BAR * each["rows"] / most), 1) if each["rows"] else 0)
        yield "", f"{span:>13} {bar} {each['rows']:,}"
    if trained := found.get("trained"):
        yield (
            "trained",
            f"{trained['tokens']:,} tokens, {trained['mean']:,.1f} a row, {trained['share']:.1%} of those read",
        )
    cut = found["truncation"]
    if cut["max_length"] is not None:
        said = f"{cut['rows']:,} rows above {cut['max_length']:,} tokens, {cut['tokens_lost']:,} tokens beyond"
        yield "too long", f"{said} · 99% fit {cut['max_length_for_99_percent']:,}"


def _conversation(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    said = found["conversation"]
    turns = {f"{number} user turn{'s' * (number != '1')}": count for number, count in said["user_turns"].items()}
    extra = [
        f"{said[name]:,} with {words}"
        for name, words in (("with_tools", "tools"), ("with_tool_calls", "calls"), ("with_thinking", "thinking"))
        if said[name]
    ]
    yield "turns", " · ".join([_counted(turns, found["counted"]), *extra])
    if said["with_system"]:
        share = said["with_system"] / found["counted"]
        yield "system", f"{said['with_system']:,} rows ({share:.0%}), {said['distinct_systems']:,} distinct"


def _bias(bias: Mapping[str, Any]) -> str:
    medians = f"median {bias['median_chosen']:,.0f} tokens chosen, {bias['median_rejected']:,.0f} rejected"
    if bias["share"] is None:
        return f"{medians} · all equally long"
    low, high = bias["interval"]
    return f"{medians} · chosen longer {bias['share']:.1%} (95%: {low:.1%} to {high:.1%})"


def _counted(counts: Mapping[str, int], total: int) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{name} {count / total:.0%}" if count < total else f"{name} 100%" for name, count in ordered[:_SHOWN]]
    rest = sum(count for _, count in ordered[_SHOWN:])
    return ", ".join(shown + ([f"others {rest / total:.0%}"] if rest else [])) or "none"


def _short(text: str) -> str:
    return repr(text if len(text) <= 24 else text[:23] + "…")
