r"""Whether an answer is the gold one, each a bare formula or text. The table of docs/graders.md says what is equal.

It is not symmetric: an inequality may be answered by its interval, but an interval not by an inequality, nor x = 5 by
2x = 10: those may be the question copied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from posttrain.graders.math import identity
from posttrain.graders.math.expression import Node, Unreadable, parse
from posttrain.graders.math.form import Form, constant, name_of, read, variables
from posttrain.graders.math.notation import plain, squeezed
from posttrain.graders.math.unit import split_unit
from posttrain.graders.math.value import rational

_NUMBER = re.compile(r"[-+]?(?:\d{1,400}(?:\.\d{1,400})?|\.\d{1,400})")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}
_UNORDERED = ("list", "set")


def quickly_equal(gold: str, answer: str) -> bool | None:
    """Return the verdict where it is at hand: on equal texts and on two plain numbers. None anywhere else."""
    gold, answer = plain(gold), plain(answer)
    if squeezed(gold) == squeezed(answer):
        return True
    if _NUMBER.fullmatch(gold) and _NUMBER.fullmatch(answer) and max(len(gold), len(answer)) < 400:
        return identity.equal(parse(gold), parse(answer))
    return None


def equal(gold: str, answer: str) -> bool | None:
    """Return whether an answer equals the gold; None if it cannot be read. Raises Unreadable for such a gold."""
    gold, answer = plain(gold), plain(answer)
    gold_form, gold_unit = _quantity(gold)
    try:
        answer_form, answer_unit = _quantity(answer)
    except Unreadable:
        return None
    if gold_unit and answer_unit and gold_unit != answer_unit:
        return False
    if "%" in (gold_unit, answer_unit):
        return _equal_percents(gold_form, gold_unit, answer_form, answer_unit)
    return same(gold_form, answer_form)


def readable(gold: str) -> bool:
    """Return whether every formula in a gold can be evaluated. Raises Unreadable where it cannot even be read."""
    return _has_value(_quantity(plain(gold))[0])


def option(gold: str) -> str:
    """Return the letter of a gold that names an option, ``\\text{(C)}`` or C; empty for any other gold."""
    match = re.fullmatch(r"\(?(?:\\text\s*\{\s*)?\(?([A-Z])\)?(?:\s*\})?\)?", plain(gold))
    return match[1] if match else ""


def begins_with_variable(answer: str) -> bool:
    """Return whether an answer is a formula like A + 1, so that its first letter names no option."""
    return re.match(r"[A-Z]\s*[+*/^_]", re.sub(r"\\[A-Za-z]+|[(){}]", "", answer).strip()) is not None


def same(gold: Form, answer: Form) -> bool:
    """Return whether two forms are the same answer."""
    if gold == answer:
        return True
    if gold.kind == "equation":
        return _same_as_equation(gold, answer)
    if answer.kind == "equation":
        return _true_so_far(answer) and same(gold, answer.items[-1])
    if gold.kind == "relation":
        return _same_as_relation(gold, answer)
    if gold.kind == "formula" and answer.kind == "formula":
        assert gold.node is not None and answer.node is not None
        return bool(identity.equal(gold.node, answer.node))
    if "base" in (gold.kind, answer.kind):
        return _same_digits(gold, answer)
    if gold.kind == "text" or answer.kind == "text":
        return _as_text(gold) == _as_text(answer) != ""
    if {gold.kind, answer.kind} <= {*_UNORDERED, "formula"}:
        return _same_members(gold, answer)
    if gold.kind == "union" or answer.kind == "union":
        return _match(_union(gold), _union(answer))
    if {gold.kind, answer.kind} == {"list", "tuple"}:
        # (1,2) without its parentheses, or a list with: only in the gold's order
        brackets = gold.mark or answer.mark
        return brackets == "()" and _same_in_order(gold.items, answer.items)
    if gold.kind == "ratio" or answer.kind == "ratio":
        return _same_ratio(gold, answer)
    return gold.kind == answer.kind and gold.mark == answer.mark and _same_in_order(gold.items, answer.items)


def _quantity(text: str) -> tuple[Form, str]:
    if match := re.fullmatch(r"\\text\s*\{(\s*[-+]?[\d.][^{}]*)\}", text):
        try:
            return _quantity(match[1])
        except Unreadable:
            return read(text), ""
    core, unit = split_unit(text)
    try:
        return read(core), unit
    except Unreadable:
        if core == text:
            raise
        return read(text), ""


def _equal_percents(gold: Form, gold_unit: str, answer: Form, answer_unit: str) -> bool:
    r"""Compare where one side has a percent sign: 50\% is 50\%, 0.5 and, the sign left out, 50.

    A gold without the sign takes the bare number only above 1: 0.5\% is not 0.5.
    """
    if gold_unit == answer_unit:
        return same(gold, answer)
    hundredth = _hundredth(gold if gold_unit else answer)
    if hundredth and same(*((hundredth, answer) if gold_unit else (gold, hundredth))):
        return True
    bare = _rational(gold)
    return same(gold, answer) and (bool(gold_unit) or bare is None or abs(bare) > 1)


def _hundredth(form: Form) -> Form | None:
    hundred: Node = ("number", Fraction(100), None)
    return Form("formula", node=("divide", form.node, hundred)) if form.node is not None else None


def _rational(form: Form) -> Fraction | None:
    return rational(form.node) if form.node is not None else None


def _same_as_equation(gold: Form, answer: Form) -> bool:
    name, last = name_of(gold.items[0]), gold.items[-1]
    if answer.kind != "equation":
        return bool(name) and same(last, answer)
    if not _true_so_far(answer):
        return False
    if name and name == name_of(answer.items[0]) and same(last, answer.items[-1]):
        return True
    if name and constant(last):
        return _swapped(gold, answer)
    if len(gold.items) == len(answer.items) == 2 and all(item.kind == "formula" for item in gold.items + answer.items):
        several = len(variables(gold)) > 1
        return _proportional(gold, answer) if several else _same_sides(gold, answer) or _swapped(gold, answer)
    return _same_sides(gold, answer)


def _swapped(gold: Form, answer: Form) -> bool:
    return _same_in_order(gold.items, answer.items[::-1])


def _same_sides(gold: Form, answer: Form) -> bool:
    return _same_in_order(gold.items, answer.items)


def _proportional(gold: Form, answer: Form) -> bool:
    """Return whether two equations say the same: left minus right is, but for a constant factor, one formula."""
    first, second = (("add", form.items[0].node, ("negative", form.items[1].node)) for form in (gold, answer))
    return variables(gold) == variables(answer) and identity.proportional(first, second)


def _true_so_far(equation: Form) -> bool:
    """Return whether the constant sides of an equation are equal: 4 = 5 gives no answer."""
    constants = [side for side in equation.items if side.kind == "formula" and constant(side)]
    return all(same(one, other) for one, other in pairwise(constants))


def _same_as_relation(gold: Form, answer: Form) -> bool:
    if answer.kind == "relation":
        signs = answer.mark.split(",")
        flipped = Form("relation", answer.items[::-1], ",".join(_FLIPPED[sign] for sign in reversed(signs)))
        return any(gold.mark == form.mark and _same_in_order(gold.items, form.items) for form in (answer, flipped))
    interval = _interval(gold)
    return interval is not None and answer.kind in ("tuple", "union") and same(interval, answer)


def _interval(relation: Form) -> Form | None:
    """Return the interval of x > 3 or 1 < x <= 3; None for another relation."""
    signs = relation.mark.split(",")
    items = relation.items
    if signs[0].startswith(">"):
        items, signs = items[::-1], [_FLIPPED[sign] for sign in reversed(signs)]
    if not all(sign.startswith("<") for sign in signs) or len(items) > 3:
        return None
    infinity: Node = ("infty",)
    ends = {name_of(item): place for place, item in enumerate(items) if name_of(item)}
    if len(ends) != 1:
        return None
    place = next(iter(ends.values()))
    if len(items) == 3 and place == 1:
        low, high = items[0], items[2]
        return Form("tuple", (low, high), ("[" if signs[0] == "<=" else "(") + ("]" if signs[1] == "<=" else ")"))
    if len(items) == 2 and place == 0:
        return Form(
            "tuple", (Form("formula", node=("negative", infinity)), items[1]), "(" + ("]" if signs[0] == "<=" else ")")
        )
    if len(items) == 2 and place == 1:
        return Form("tuple", (items[0], Form("formula", node=infinity)), ("[" if signs[0] == "<=" else "(") + ")")
    return None


def _same_digits(gold: Form, answer: Form) -> bool:
    """Compare a number in a base: its digits and the base, which may be left out on one side."""
    if gold.kind == answer.kind:
        return gold.mark == answer.mark and gold.items == answer.items
    written, other = (gold, answer) if gold.kind == "base" else (answer, gold)
    digits = written.items[0].mark
    number = _rational(other)
    return digits.lstrip("-").isdigit() and number == int(digits)


def _as_text(form: Form) -> str:
    if form.kind == "text":
        return form.mark
    node = form.node
    letters = ""
    while node is not None and node[0] == "multiply" and node[2][0] in ("symbol", "e", "i"):
        letters = (node[2][1] if node[2][0] == "symbol" else node[2][0]) + letters
        node = node[1]
    if node is not None and node[0] in ("symbol", "e", "i"):
        letters = (node[1] if node[0] == "symbol" else node[0]) + letters
        return letters if len(letters) == 1 else letters.casefold()
    return ""


def _same_members(gold: Form, answer: Form) -> bool:
    """Compare lists, sets and single formulas without order, unless a list is a sequence with dots."""
    members = [form.items if form.kind in _UNORDERED else (form,) for form in (gold, answer)]
    if gold.ordered or answer.ordered:
        return _same_in_order(*members)
    return _match(*members)


def _match(gold: Sequence[Form], answer: Sequence[Form]) -> bool:
    return all(any(same(one, other) for other in answer) for one in gold) and all(
        any(same(one, other) for one in gold) for other in answer
    )


def _same_in_order(gold: Sequence[Form], answer: Sequence[Form]) -> bool:
    return len(gold) == len(answer) and all(same(one, other) for one, other in zip(gold, answer, strict=True))


def _union(form: Form) -> tuple[Form, ...]:
    if form.kind == "list" and all(item.kind == "relation" for item in form.items):
        return tuple(_interval(item) or item for item in form.items)
    return form.items if form.kind in ("union", "list") else (form,)


def _same_ratio(gold: Form, answer: Form) -> bool:
    """Compare 3:2 with 6:4 and 3/2."""
    sides = []
    for form in (gold, answer):
        nodes = (
            [item.node for item in form.items] if form.kind == "ratio" else [form.node, ("number", Fraction(1), None)]
        )
        if None in nodes:
            return False
        sides.append(nodes)
    first, second = sides
    return len(first) == len(second) and all(
        identity.equal(("multiply", first[0], other), ("multiply", second[0], one))
        for one, other in zip(first, second, strict=True)
    )


def _has_value(form: Form) -> bool:
    if form.node is not None and not identity.has_value(form.node):
        return False
    return all(_has_value(item) for item in form.items)
