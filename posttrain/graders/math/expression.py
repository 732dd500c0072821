r"""Read one formula, ``\frac{1}{2}x^2`` or ``x^2/2``, into a tree of tuples. Nothing is evaluated here.

A node is ``("number", Fraction, decimals)``, with `decimals` the digits written after a decimal point or None;
``("symbol", name)``; or ``(operation, node, ...)`` with one of the operations that `value` knows.
The conventions, where LaTeX and people differ: ``1/2x`` is x/2 and ``a/2b`` is a/(2b); ``1\frac12`` is 3/2; ``x^10``
is x to the tenth; ``i`` and ``e`` are the numbers; ``f(x)`` is a product, which is enough to compare two formulas.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

Node = tuple[Any, ...]

MAX_DEPTH = 40
MAX_DIGITS = 400

INVERSES = {name: "arc" + name for name in ("sin", "cos", "tan", "cot", "sec", "csc")}
FUNCTIONS = frozenset([*INVERSES, *INVERSES.values(), "sinh", "cosh", "tanh", "ln", "log", "exp"])
_GREEK = re.compile(
    "alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|"
    "(?:var)?phi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Upsilon|Phi|Psi|Omega|ell|hbar"
)
_ACCENT = re.compile("overline|bar|vec|hat|tilde|text|mathbf|mathcal|mathbb|overrightarrow|widehat|operatorname")
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_PRODUCT = frozenset(["*", "\\cdot", "\\times", "/", "\\div"])
_TOKEN = re.compile(
    r"\s*(?P<token>\d+\.\d+|\.\d+|\d+\.?(?!\d)|\\(?:[A-Za-z]+|[{}%$])|[A-Za-z]|[-+*/^_!|(){}\[\]'])|\s*(?P<end>\Z)"
)
_MIXED = re.compile(
    r"(?<![\d.^_])(?<!\\sqrt)(?<!\\frac)(?<!\\sqrt )(?<!\\frac )(\d+)"
    r"\s*(?:\\frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))|\s(\d+)/(\d+)(?!\d))"
)
_REPEATING = re.compile(r"(\d*)\.(?:(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?|(\d{0,9}?)(\d{1,9}?)\5{2,}\s*\\dots)")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z\\_^{\d.])(\d+\.?\d*|\.\d+)[eE]([-+]?\d+)(?![\w.])")


class Unreadable(ValueError):
    """The text is not a formula that can be read."""


def parse(text: str) -> Node:
    """Return the tree of a formula in plain notation (`notation.plain`). Raises Unreadable."""
    text = _REPEATING.sub(_repeating, text)
    text = _SCIENTIFIC.sub(r"(\1*10^{\2})", text)
    text = _MIXED.sub(_mixed, text)
    parser = _Parser(_tokens(text))
    node = parser.sum(0)
    if parser.place < len(parser.tokens):
        raise Unreadable(f"{parser.peek()!r} is not expected")
    return node


def symbols(node: Node) -> frozenset[str]:
    """Return the names of the variables in a tree."""
    if node[0] == "symbol":
        return frozenset([node[1]])
    return frozenset().union(*(symbols(part) for part in node[1:] if isinstance(part, tuple)))


def unsigned(node: Node) -> tuple[Node, int]:
    """Return a formula without the signs before it, and their product."""
    sign = 1
    while node[0] == "negative":
        node, sign = node[1], -sign
    return node, sign


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    place = 0
    while True:
        match = _TOKEN.match(text, place)
        if match is None:
            raise Unreadable(f"cannot read {text[place : place + 20]!r}")
        if match["token"] is None:
            return tokens
        tokens.append(match["token"])
        place = match.end()


def _mixed(match: re.Match[str]) -> str:
    top, bottom = match[2] or match[3] or match[6], match[4] or match[5] or match[7]
    return f"({match[1]}+{top}/{bottom})"


def _repeating(match: re.Match[str]) -> str:
    whole, fixed, again = match[1] or "0", match[2] or match[4] or "", match[3] or match[5]
    if len(match[0]) > MAX_DIGITS:
        raise Unreadable("a number with too many digits")
    start = Fraction(int(whole + fixed), 10 ** len(fixed))
    value = start + Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(fixed))
    return f"({value.numerator}/{value.denominator})"


class _Parser:
    """Recursive descent over the tokens; `depth` is how deep the formula is nested so far."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.place = 0
        self.bars = 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise Unreadable("it ends too early")
        self.place += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise Unreadable(f"{token!r} is missing")

    def sum(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise Unreadable("it is nested too deeply")
        node = self.signed(depth)
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product(depth)
            node = ("add", node, term if sign == "+" else ("negative", term))
        return node

    def signed(self, depth: int) -> Node:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        node = self.product(depth)
        return node if sign > 0 else ("negative", node)

    def product(self, depth: int) -> Node:
        """Return factors joined by signs; those that stand side by side are joined before them."""
        node = self.adjacent(depth)
        while self.peek() in _PRODUCT:
            divides = self.take() in ("/", "\\div")
            negative = False
            while self.peek() in ("+", "-"):
                negative ^= self.take() == "-"
            # 1/2x is x/2, but a/2b is a/(2b)
            plain = divides and node[0] == "number" and re.match(r"\d", self.peek())
            factor = self.power(depth) if plain else self.adjacent(depth)
            node = ("divide" if divides else "multiply", node, factor)
            if plain and self.starts_factor():
                node = ("multiply", node, self.adjacent(depth))
            node = ("negative", node) if negative else node
        return node

    def adjacent(self, depth: int) -> Node:
        node = self.power(depth)
        while self.starts_factor():
            if node[0] == "number" and re.match(r"[\d.]", self.peek()):
                raise Unreadable("two numbers stand side by side")
            node = ("multiply", node, self.power(depth))
        return node

    def starts_factor(self) -> bool:
        token = self.peek()
        if token == "|":
            return self.bars == 0
        if token.startswith("\\"):
            return token not in _PRODUCT and token not in _CLOSING.values() and token not in ("\\%", "\\$", "\\circ")
        return bool(token) and (token.isalnum() or token[0] == "." or token[-1] == "." or token in "({[")

    def power(self, depth: int) -> Node:
        node = self.postfixed(self.atom(depth))
        if self.peek() != "^":
            return node
        self.take()
        if self.peek() == "\\circ":
            self.take()
            return ("degrees", node)
        return self.postfixed(("power", node, self.argument(depth)))

    def postfixed(self, node: Node) -> Node:
        while self.peek() in ("!", "\\%"):
            if self.take() == "!":
                if node[0] == "factorial":
                    raise Unreadable("a double factorial")
                node = ("factorial", node)
            else:
                node = ("divide", node, ("number", Fraction(100), None))
        return node

    def argument(self, depth: int) -> Node:
        """Return what follows ``^``, ``\\sqrt`` or ``\\frac``: a group, or one token; ``-`` is a sign."""
        if self.peek() in ("+", "-"):
            negative = self.take() == "-"
            node = self.atom(depth + 1)
            return ("negative", node) if negative else node
        return self.atom(depth + 1)

    def halves(self, depth: int) -> tuple[Node, Node]:
        r"""Return the two arguments of ``\frac``: ``{1}{2}``, ``1{2}``, ``12`` or ``ab``."""
        parts = []
        for _ in range(2):
            token = self.peek()
            if token.isdigit() and len(token) > 1:
                self.tokens[self.place : self.place + 1] = [token[0], token[1:]]
            parts.append(self.atom(depth + 1))
        return parts[0], parts[1]

    def group(self, opening: str, depth: int) -> Node:
        bars, self.bars = self.bars, 0
        node = self.sum(depth + 1)
        self.bars = bars
        self.expect(_CLOSING[opening])
        return node

    def atom(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise Unreadable("it is nested too deeply")
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return _number(token)
        if token == "|":
            self.bars += 1
            node = self.sum(depth + 1)
            self.bars -= 1
            self.expect("|")
            return ("abs", node)
        if token in _CLOSING:
            node = self.group(token, depth)
            return {"\\lfloor": ("floor", node), "\\lceil": ("ceiling", node)}.get(token, node)
        name = token.lstrip("\\")
        if token in ("e", "i") and self.peek() != "_":
            return (token,)
        if len(token) == 1 and token.isalpha():
            return ("symbol", token + self.subscript())
        if not token.startswith("\\"):
            raise Unreadable(f"{token!r} is not expected")
        if name in FUNCTIONS:
            return self.function(name, depth)
        if name in ("pi", "infty"):
            return (name,)
        if _GREEK.fullmatch(name):
            return ("symbol", name + self.subscript())
        if name == "frac":
            return ("divide", *self.halves(depth))
        if name == "binom":
            return ("binomial", *self.halves(depth))
        if name == "sqrt":
            return self.root(depth)
        if _ACCENT.fullmatch(name) and self.peek() == "{":
            return ("symbol", name + self.braced() + self.subscript())
        raise Unreadable(f"{token} is not known")

    def root(self, depth: int) -> Node:
        degree: Node = ("number", Fraction(2), None)
        if self.peek() == "[":
            self.take()
            degree = self.group("[", depth)
        token = self.peek()
        if token.isdigit() and len(token) > 1:  # \sqrt12 is meant as the root of 12
            return ("root", _number(self.take()), degree)
        return ("root", self.atom(depth + 1), degree)

    def function(self, name: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise Unreadable("it is nested too deeply")
        base: Node | None = None
        power: Node | None = None
        while self.peek() in ("^", "_"):
            if self.take() == "^":
                power = self.argument(depth)
            elif name == "log":
                base = self.atom(depth + 1)
            else:
                raise Unreadable(f"{name} with a subscript")
        if power == ("negative", ("number", Fraction(1), None)) and name in INVERSES:
            name, power = INVERSES[name], None
        if self.peek() in ("(", "[", "{"):
            inner = self.power(depth + 1) if self.peek() == "{" else self.atom(depth + 1)
        else:
            inner = self.power(depth + 1)
            while self.starts_factor() and self.peek().lstrip("\\") not in FUNCTIONS and self.peek() != "(":
                inner = ("multiply", inner, self.power(depth + 1))
        node: Node = (name, inner) if base is None else ("divide", ("ln", inner), ("ln", base))
        return node if power is None else ("power", node, power)

    def subscript(self) -> str:
        """Return a name's subscript and primes as text."""
        name = ""
        while self.peek() in ("_", "'"):
            if self.take() == "'":
                name += "'"
            else:
                name += "_" + (self.braced() if self.peek() == "{" else self.take())
        return name

    def braced(self) -> str:
        self.expect("{")
        inside = []
        while self.peek() not in ("}", "{"):
            inside.append(self.take())
        self.expect("}")
        return "".join(inside)


def _number(token: str) -> Node:
    if len(token) > MAX_DIGITS:
        raise Unreadable("a number with too many digits")
    _, point, decimals = token.partition(".")
    return ("number", Fraction(token.rstrip(".")), len(decimals) if point and decimals else None)
