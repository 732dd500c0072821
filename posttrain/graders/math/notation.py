r"""One way of writing formulas: ``\dfrac``, ``½``, ``sqrt(2)``, ``1,000`` and ``\left(`` become the plain forms.

What is plain: no sizes and spacing, ``\frac``, ``\text`` for every text command, ``\{``, ``\leq``, ``\dots``,
``^\circ``, ``^`` for powers, functions with a backslash, numbers without separators.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

DOLLAR = "\uff04"
"""Stands for a dollar sign that is money: a bare ``$`` opens a formula."""

_UNICODE = {
    **dict.fromkeys("\u2212\u2013\u2014\u2010\u2011\ufe63\uff0d", "-"),
    **{"\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2217": "*", "\u00f7": r"\div "},
    **{"\u2215": "/", "\u2044": "/", "\u221e": r"\infty ", "\u221a": r"\sqrt ", "\u00b1": r"\pm ", "\u2213": r"\mp "},
    **{"\u2264": r"\leq ", "\u2265": r"\geq ", "\u2260": r"\neq ", "\u2248": r"\approx ", "\u222a": r"\cup "},
    **{"\u2208": r"\in ", "\u2205": r"\emptyset ", "\u211d": r"\mathbb{R}", "\u00b0": r"^\circ ", "\u2026": r"\dots "},
    **{"\u27e8": r"\langle ", "\u27e9": r"\rangle ", "\u2219": r"\cdot ", "\uff0c": ",", "\u3001": ","},
    **{"\u03c0": r"\pi ", "\u03b8": r"\theta ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u03bb": r"\lambda "},
}
_SUPERSCRIPTS = re.compile(r"[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_VULGAR = re.compile(r"(\d?)([\u00bc-\u00be\u2150-\u215e])")
_NAMES = r"sqrt|pi|sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan|sinh|cosh|tanh"
_END = r"(?![A-Za-z])"

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?:\[[^\[\]]{0,9}\])?|\\(?:cr|newline)(?![A-Za-z])", r"\\newrow "),
        (r"\\(?:boxed|fbox|ensuremath)\s*\{", "{"),
        (rf"\\(?:left|right){_END}\.?|\\(?:[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits){_END}", ""),
        # Separators of thousands: "10,\!080", "10{,}080", "10\,080"; "3{,}14" has a decimal comma.
        (r"(?<=\d)(?:,\s*\\!|\{,\}|\\,)\s*(?=\d{3}(?!\d))", ""),
        (r"(?<=\d)\{,\}(?=\d)", "."),
        (r"\\!", ""),
        (rf"\\(?:qquad|quad|enspace|thinspace|hfill){_END}|\\hspace\{{[^{{}}]*\}}|\\[,;: ]|~|\\(?=\s|$)", " "),
        (r"(?<![\d.,])(\d{1,3}(?: \d{3})+)(?![\d.]*\d)", lambda match: match[0].replace(" ", "")),
        (r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (rf"\\[dtc]frac{_END}", r"\\frac"),
        (rf"\\[dt]binom{_END}", r"\\binom"),
        (r"\\(?:rm|mathrm|textrm|textbf|textit|textsf|texttt|textnormal|mbox|hbox|emph)\s*\{", r"\\text{"),
        (r"\\(?:boldsymbol|bm)\s*\{", r"\\mathbf{"),
        (r"\\mathbf\s*\{([^{}]*[^{}A-Za-z\s][^{}]*)\}", r"\1"),
        (rf"\\(?:ldots|cdots|dotsc|dotsb|dotso){_END}|\.\.\.+", r"\\dots "),
        (rf"\\le(?:qslant|q)?{_END}|<=", r"\\leq "),
        (rf"\\ge(?:qslant|q)?{_END}|>=", r"\\geq "),
        (rf"\\ne{_END}|\\not\s*=|!=", r"\\neq "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"\\(?:[lr]?vert|mid){_END}", "|"),
        (rf"\\lbrace{_END}", r"\\{"),
        (rf"\\rbrace{_END}", r"\\}"),
        (rf"\\lbrack{_END}", "["),
        (rf"\\rbrack{_END}", "]"),
        (rf"\\varnothing{_END}", r"\\emptyset"),
        (rf"\^\s*\{{\s*\\circ\s*\}}|\\degree{_END}|\^\s*\\circ{_END}", r"^\\circ "),
        (rf"\\mathbb\s*\{{?\s*R\s*\}}?|\\R{_END}", r"(-\\infty,\\infty)"),
        (r"\\text\{\s*([ei])\s*\}", r"\1"),
        (rf"\\(?:operatorname|text)\*?\s*\{{\s*({_NAMES})\s*\}}", r"\\\1 "),
        (rf"\\(?:cdotp|ast|bullet){_END}", r"\\cdot "),
        (r"\*\*", "^"),
        (rf"(?<![\\A-Za-z])({_NAMES}){_END}", r"\\\1 "),
        (rf"(?<![\\A-Za-z])(?:infinity|infty|inf|oo){_END}", r"\\infty "),
        (r"\\text\{\s*\\infty\s*\}", r"\\infty "),
        (r"\\text\{\s*no (?:real )?solutions?\s*\}", r"\\emptyset"),
        (r"\\text\{\s*all real(?: number)?s\s*\}", r"(-\\infty,\\infty)"),
        (r"\^\s*\{?\s*\\text\{\s*(?:st|nd|rd|th)\s*\}\s*\}?", ""),
        # "k\pi, k \in \mathbb{Z}"
        (r",?\s*(?:\\text\{[^{}]*\}\s*)?[a-z]\s*\\in\s*\\mathbb\s*\{?\s*[ZN]\s*\}?\s*$", ""),
        (r"(?<=\d)\\text\{([A-Z]+)\}(?=\s*_)", r"\1"),
        (rf"\\(?:implies|Rightarrow|therefore|angle|measuredangle|triangle){_END}", " "),
    )
)
_GROUPED = re.compile(r"(?<![\d.])(\d{1,3}(?:,\d{3})+)(?!\d)")
_OPENING = ("(", "[", "\\{", "\\langle")
_BRACKET = re.compile(r"\\[{}]|\\[lr]angle|[()\[\]]|" + _GROUPED.pattern)
_WORD_FORM = re.compile(r"[^\W_]+")


@lru_cache(maxsize=1 << 13)
def plain(text: str) -> str:
    """Return a formula in plain notation."""
    text = _VULGAR.sub(_vulgar, text)
    text = _SUPERSCRIPTS.sub(lambda match: "^{" + unicodedata.normalize("NFKC", match[0]) + "}", text)
    text = "".join(_UNICODE.get(character, character) for character in unicodedata.normalize("NFC", text))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _without_separators(" ".join(text.split())).lstrip(" ;:,*`").removesuffix("\\newrow").rstrip(" .;:,*`")


def words(text: str) -> str:
    """Return the words of a text answer, without case, punctuation and commands: ``\\text{Even.}`` is "even"."""
    return " ".join(_WORD_FORM.findall(re.sub(r"\\[A-Za-z]+", " ", text).casefold()))


def squeezed(text: str) -> str:
    """Return plain notation without the spaces that mean nothing."""
    return re.sub(r"\s+(?![\d])|(?<=[^\dA-Za-z])\s+", "", text)


def _vulgar(match: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match[2]).partition("\u2044")
    return rf"{match[1]}\frac{{{top}}}{{{bottom}}}"


def _without_separators(text: str) -> str:
    """Return the text with 1,000 as 1000; inside brackets, where commas separate, only before a group 0xx."""
    depth = 0
    parts = []
    last = 0
    for match in _BRACKET.finditer(text):
        if match[1] is None:
            depth += 1 if match[0] in _OPENING else -1
        elif depth <= 0 or ",0" in match[1]:
            parts += [text[last : match.start()], match[1].replace(",", "")]
            last = match.end()
    return "".join([*parts, text[last:]])
