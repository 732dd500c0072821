"""What stands around a quantity: ``18 dollars``, ``5\\text{ cm}^2``, ``$3.50``, ``50%``, ``3 million``."""

from __future__ import annotations

import re

from posttrain.graders.math.notation import DOLLAR

_SYNONYMS = {
    **dict.fromkeys(["dollar", "usd", "$", DOLLAR, "buck"], "dollar"),
    **dict.fromkeys(["cent", "¢"], "cent"),
    **dict.fromkeys(["euro", "€", "eur"], "euro"),
    **dict.fromkeys(["pound", "£", "gbp", "lb"], "pound"),
    **dict.fromkeys(["percent", "pct", "%"], "%"),
    **dict.fromkeys(["degree", "deg", "°"], "degree"),
    **dict.fromkeys(["cm", "centimeter", "centimetre"], "cm"),
    **dict.fromkeys(["mm", "millimeter", "millimetre"], "mm"),
    **dict.fromkeys(["m", "meter", "metre"], "m"),
    **dict.fromkeys(["km", "kilometer", "kilometre"], "km"),
    **dict.fromkeys(["in", "inch", "inche"], "in"),
    **dict.fromkeys(["ft", "foot", "feet"], "ft"),
    **dict.fromkeys(["yd", "yard"], "yd"),
    **dict.fromkeys(["mi", "mile"], "mi"),
    **dict.fromkeys(["kg", "kilogram"], "kg"),
    **dict.fromkeys(["g", "gram"], "g"),
    **dict.fromkeys(["oz", "ounce"], "oz"),
    **dict.fromkeys(["h", "hr", "hour"], "hour"),
    **dict.fromkeys(["min", "minute"], "minute"),
    **dict.fromkeys(["s", "sec", "second"], "second"),
    **dict.fromkeys(["l", "liter", "litre"], "l"),
    **dict.fromkeys(["ml", "milliliter", "millilitre"], "ml"),
    "mph": "mi/hour",
    "unit": "",
}
_MULTIPLES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT = "cm|mm|km|kg|lb|lbs|oz|ft|in|yd|mi|hr|hrs|min|sec|mph|ml|pm|am|mg"
_CURRENCY = re.compile(rf"(\\?\$|[{DOLLAR}£€¥₹])\s*(?=[-+\d.\\])")
_TRAILING = re.compile(
    r"\s*(?:\^\\circ\s*)?\\text\s*\{(?P<text>[^{}]*)\}\s*(?:\^\s*\{?\s*(?P<power>[23])\s*\}?)?$"
    r"|\s*(?P<percent>\\?%)$"
    rf"|(?P<currency>\s*(?:\\\$|{DOLLAR}|£|€|¢))$"
    rf"|(?<=[\d}})\]])\s*(?P<short>{_SHORT})\.?(?:\s*\^\s*\{{?\s*(?P<short_power>[23])\s*\}}?)?$"
    r"|(?<=[\d}\])]\s)\s*(?P<words>(?:[A-Za-z]{2,}[\s/-]{1,2}){0,5}[A-Za-z]{3,})\.?(?:\s*\^\s*\{?\s*(?P<words_power>[23])\s*\}?)?$"
)
_JOINING = re.compile(r"\b(?:and|or|not|if|to|mod|than|where|when|for)\b")


def split_unit(text: str) -> tuple[str, str]:
    """Return a quantity in plain notation without its unit, and the unit in a normal form (empty if none)."""
    units = []
    if match := _CURRENCY.search(text):
        text = _CURRENCY.sub("", text)
        units.append(_normal(match[1], ""))
    factor = 0
    for _ in range(3):
        match = _TRAILING.search(text)
        if match is None or not (core := text[: match.start()].strip()):
            break
        name = next((match[group] for group in ("text", "percent", "currency", "short", "words") if match[group]), "")
        # words that join are no units: "3 or more", "5 \text{ if } x"; nor is a formula's own text
        if _JOINING.search(name) or core.endswith(("_", "=", "+", "-", "*", "/", "^", "(", ",")):
            break
        first, _, rest = name.strip().lower().partition(" ")
        if first in _MULTIPLES:
            factor, name = _MULTIPLES[first], rest
        units.insert(0, _normal(name, match["power"] or match["short_power"] or match["words_power"] or ""))
        text = core
    if factor:
        text = rf"({text})\cdot {factor}"
    return text, " ".join(filter(None, units))


def _normal(name: str, power: str) -> str:
    name = name.strip(" .\\").lower()
    squares = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3"}
    kept = []
    for word in re.findall(r"[^\W\d_]+|[%$¢£€¥₹°/]|" + DOLLAR, name):
        if word in squares:
            power = squares[word]
        else:
            kept.append(_SYNONYMS.get(word, _SYNONYMS.get(word.removesuffix("s"), word.removesuffix("s"))))
    return "".join(filter(None, kept)).replace("per", "/") + power if any(kept) else ""
