r"""What kind of thing an answer is: a formula, a list, a set, a tuple or interval, a matrix, an equation, a text.

`read` splits an answer at its outermost marks; what is inside is read in the same way, and formulas
by `expression`.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from posttrain.graders.math.expression import Node, Unreadable, parse, symbols
from posttrain.graders.math.notation import words
from posttrain.graders.math.unit import split_unit

MAX_ITEMS = 64
MAX_NESTED = 8

Kind = Literal[
    "formula", "text", "list", "set", "tuple", "union", "matrix", "equation", "relation", "base", "ratio", "dots"
]


class Form(NamedTuple):
    """An answer as it was read.

    `items` are the members of a list, set, tuple, union or ratio, the rows of a matrix (tuples), and the sides of an
    equation or relation. `mark` holds the brackets of a tuple ``(]``, the signs of a relation ``<,<=``, the words of
    a text, or the base of a number; `node` a formula.
    """

    kind: Kind
    items: tuple[Form, ...] = ()
    mark: str = ""
    node: Node | None = None

    @property
    def ordered(self) -> bool:
        """Whether the order of a list's members counts: 1, 2, ..., n is a sequence."""
        return any(item.kind == "dots" for item in self.items)


_MATRIX = re.compile(r"\\begin\s*\{([pbBv]?(?:small)?matrix|array)\}\s*(?:\{[lcr| ]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)
_BRACKETED_ARRAY = re.compile(r"[(\[]\s*(\\begin\s*\{array\}.*\\end\s*\{array\})\s*[)\]]", re.DOTALL)
_AND = re.compile(
    r"\\text\s*\{[\s,]*(?:and|or)[\s,]*\}|(?<![\\A-Za-z])(?:and|or)(?![A-Za-z])|\\(?:lor|vee|land)(?![A-Za-z])"
)
_BASE = re.compile(r"(-?[0-9A-Z]+(?:\.[0-9A-Z]+)?)\s*_\s*(?:\{\s*(?:\\text\s*\{)?\s*(\d+|[a-z]+)\s*\}?\s*\}|(\d+))")
_BASE_NAMES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_TEXT = re.compile(r"\\(?:text|mathbf)\s*\{([^{}]*)\}")
_RELATIONS = {"<": "<", ">": ">", "\\leq": "<=", "\\geq": ">=", "\\neq": "!="}
_MARKS = re.compile(
    r"\\(?:leq|geq|neq|approx|equiv|sim|in|cup|setminus|backslash|langle|rangle|begin|end)(?![A-Za-z])|\\[{}]|\\.|.",
    re.DOTALL,
)
_OPEN = {"(", "[", "{", "\\{", "\\langle", "\\begin"}
_CLOSE = {")", "]", "}", "\\}", "\\rangle", "\\end"}


def read(text: str, nested: int = 0) -> Form:
    """Return what an answer in plain notation is. Raises Unreadable."""
    text = text.strip()
    if not text or nested > MAX_NESTED:
        raise Unreadable("nothing to read" if not text else "it is nested too deeply")
    if text in ("\\dots", "\\dots."):
        return Form("dots")
    if text in ("\\emptyset", "\\{\\}"):
        return Form("set")
    if words(_TEXT.sub(" ", text)) == "" and _TEXT.search(text):
        return _text(text)
    if "\\pm" in text or "\\mp" in text:
        return _plus_minus(text, nested)
    pieces = split(_AND.sub(",", text), ",;")
    if len(pieces) > 1:
        return _list([read(piece, nested + 1) for piece in pieces if piece.strip()])
    if relation := _relation(text, nested):
        return relation
    if enclosed := _enclosed(text, nested):
        return enclosed
    if match := _BASE.fullmatch(text):
        base = match[2] or match[3]
        base = _BASE_NAMES.get(base, base)
        if base.isdigit() and match[1].lstrip("-")[0].isdigit():
            return Form("base", mark=base, items=(Form("text", mark=match[1]),))
    if len(ratio := split(text, ":")) > 1:
        return Form("ratio", tuple(read(part, nested + 1) for part in ratio))
    if re.search(r"(?<![\\A-Za-z_{])[A-Za-z]{4,}(?![A-Za-z}])", text) and not re.search(r"[\\^=+*/\d]", text):
        return Form("text", mark=words(text))
    try:
        return Form("formula", node=parse(text))
    except Unreadable:
        # the unit of a member of a list, or of one side of an equation
        core, _ = split_unit(text)
        if core == text:
            raise
        return Form("formula", node=parse(core))


def split(text: str, marks: str) -> list[str]:
    """Return the pieces between marks that stand outside of all brackets."""
    pieces = [""]
    depth = 0
    for match in _MARKS.finditer(text):
        token = match[0]
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0 and token in marks and len(token) == 1:
            pieces.append("")
        else:
            pieces[-1] += token
    if len(pieces) > MAX_ITEMS:
        raise Unreadable("a list that is too long")
    return pieces


def name_of(form: Form) -> str:
    """Return what an equation's left side names (a variable, ``f(x)``, ``(x,y)``, a word); empty for anything else."""
    if form.kind == "text":
        return form.mark
    if form.kind == "tuple":
        names = [name_of(item) for item in form.items]
        return ",".join(names) if all(names) else ""
    node = form.node
    if node is not None and node[0] == "multiply" and {node[1][0], node[2][0]} == {"symbol"}:
        return f"{node[1][1]}({node[2][1]})"
    return str(node[1]) if node is not None and node[0] == "symbol" else ""


def constant(form: Form) -> bool:
    """Return whether a form has no variables in it."""
    return not variables(form) and form.kind != "text"


def variables(form: Form) -> frozenset[str]:
    """Return the names of the variables in a form."""
    own = symbols(form.node) if form.node is not None else frozenset()
    return own.union(*(variables(item) for item in form.items))


def _text(text: str) -> Form:
    inside = " ".join(match[1] for match in _TEXT.finditer(text)).strip()
    bare = re.sub(r"[$\\()\s]", "", inside)
    if re.fullmatch(r"[-+]?[\d.,/]*\d", bare) and re.search(r"\d", inside):
        return read(inside, MAX_NESTED)
    if not words(inside):
        raise Unreadable("an empty text")
    # One capital letter names an option; the case of other words does not matter.
    return Form("text", mark=bare if re.fullmatch(r"[A-Za-z]", bare) else words(inside))


def _plus_minus(text: str, nested: int) -> Form:
    if text.count("\\pm") + text.count("\\mp") > 4:
        raise Unreadable("too many signs")
    forms: list[Form] = []
    for plus, minus in (("+", "-"), ("-", "+")):
        chosen = re.sub(r"\\pm(?![A-Za-z])", plus, text)
        form = read(re.sub(r"\\mp(?![A-Za-z])", minus, chosen), nested + 1)
        forms += form.items if form.kind in ("list", "set") else [form]
    first = read(re.sub(r"\\[pm][pm](?![A-Za-z])", "+", text), nested + 1)
    return _list(forms) if first.kind != "set" else Form("set", tuple(forms))


def _list(items: list[Form]) -> Form:
    """Return a list; of equations for one variable, only the values; of one for each of several, a tuple of them."""
    if not items:
        raise Unreadable("an empty list")
    if len(items) == 1:
        return items[0]
    named = [_assignment(item) for item in items]
    first = named[0]
    if first is not None:
        rest = [item if value is None else value for item, value in zip(items, named, strict=True)]
        names = [name_of(item.items[0]) for item, value in zip(items, named, strict=True) if value is not None]
        if len(set(names)) == 1 and all(
            value is not None or constant(item) for item, value in zip(items, named, strict=True)
        ):
            values = Form("list", tuple(rest))
            return Form("equation", (items[0].items[0], values))
        if len(set(names)) == len(items):
            pairs = sorted(zip(names, rest, strict=True), key=lambda pair: pair[0])
            keys = Form("tuple", tuple(Form("text", mark=name) for name, _ in pairs), "()")
            return Form("equation", (keys, Form("tuple", tuple(value for _, value in pairs), "()")))
    if all(item.kind == "tuple" and len(item.items) == 2 and item.mark != "()" for item in items):
        return Form("union", tuple(items))
    return Form("list", tuple(items))


def _assignment(form: Form) -> Form | None:
    if form.kind == "equation" and name_of(form.items[0]) and constant(form.items[-1]):
        return form.items[-1]
    return None


def _relation(text: str, nested: int) -> Form | None:
    """Return an equation, a relation, or the set that a variable is said to be in; None if there is no such sign."""
    sides, signs = [""], []
    depth = 0
    for match in _MARKS.finditer(text):
        token = match[0]
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0 and (
            token in _RELATIONS or token in ("=", "\\in", "\\cup", "\\approx", "\\equiv", "\\setminus", "\\backslash")
        ):
            sides.append("")
            signs.append(token)
        else:
            sides[-1] += token
    if not signs:
        return None
    if signs[-1] == "\\approx":
        # "2\sqrt3 \approx 3.46": the exact side counts; "\approx 3.46" and "x \approx 3.46" have only one
        exact = text[: text.rindex("\\approx")]
        if not exact.strip() or name_of(form := read(exact, nested + 1)):
            return read(sides[-1], nested + 1)
        return form
    if not sides[0].strip() and signs == ["="]:
        return read(sides[1], nested + 1)
    if signs == ["\\in"]:
        return read(sides[1], nested + 1)
    forms = tuple(read(side, nested + 1) for side in sides) if "\\in" not in signs else ()
    if set(signs) == {"="}:
        return Form("equation", forms)
    if set(signs) == {"\\cup"}:
        return Form(
            "union", tuple(item for form in forms for item in (form.items if form.kind == "union" else (form,)))
        )
    if signs == ["="] or ("=" in signs and "\\cup" in signs and signs[0] == "="):
        return read(text[text.index("=") + 1 :], nested + 1)
    if signs == ["\\in", *["\\cup"] * (len(signs) - 1)]:
        return read(text[text.index("\\in") + 3 :], nested + 1)
    if set(signs) <= set(_RELATIONS):
        return Form("relation", forms, ",".join(_RELATIONS[sign] for sign in signs))
    if signs in (["\\setminus"], ["\\backslash"]) and forms[1].kind in ("set", "formula"):
        return _without(forms[0], forms[1])
    raise Unreadable("a relation that is not known")


def _without(whole: Form, removed: Form) -> Form:
    """Return the whole line without a few points as the union that it is. Raises Unreadable for other sets."""
    infinity: Node = ("infty",)
    line = Form("tuple", (Form("formula", node=("negative", infinity)), Form("formula", node=infinity)), "()")
    points = removed.items if removed.kind == "set" else (removed,)
    if whole != line or len(points) != 1:
        raise Unreadable("a difference of sets")
    return Form(
        "union", (Form("tuple", (line.items[0], points[0]), "()"), Form("tuple", (points[0], line.items[1]), "()"))
    )


def _enclosed(text: str, nested: int) -> Form | None:
    """Return the matrix, set or tuple that the whole text is; None if it is none."""
    if match := _BRACKETED_ARRAY.fullmatch(text):
        text = match[1]
    if match := _MATRIX.fullmatch(text):
        if "\\begin" in match[2]:
            raise Unreadable("a matrix in a matrix")
        rows = [row for row in match[2].split("\\newrow") if row.strip()]
        if len(rows) > MAX_ITEMS:
            raise Unreadable("a matrix that is too large")
        cells = (tuple(read(cell, nested + 1) for cell in row.split("&")) for row in rows)
        return Form("matrix", tuple(Form("tuple", row) for row in cells), "v" if match[1] == "vmatrix" else "")
    match = re.fullmatch(r"(\(|\[|\\\{|\\langle)(.*)(\)|\]|\\\}|\\rangle)", text, re.DOTALL)
    if match is None or not _closes_at_end(text):
        return None
    opening, inside, closing = match[1].replace("\\langle", "("), match[2], match[3].replace("\\rangle", ")")
    if opening == "\\{" and closing == "\\}":
        form = read(inside, nested + 1)
        return Form("set", form.items if form.kind in ("list", "union") else (form,))
    pieces = split(inside, ",;")
    if len(pieces) > 1 and "\\{" not in (opening, closing):
        return Form("tuple", tuple(read(piece, nested + 1) for piece in pieces), opening + closing)
    if opening == "(" and closing == ")":
        # (5), (x=5) and (\text{even}) are what is in them; formulas keep their parentheses
        return read(inside, nested + 1)
    return None


def _closes_at_end(text: str) -> bool:
    """Return whether the bracket that opens a text is closed by its last one."""
    depth = 0
    for match in _MARKS.finditer(text):
        depth += (match[0] in _OPEN) - (match[0] in _CLOSE)
        if depth == 0:
            return match.end() == len(text)
    return False
