"""The language that a text is written in, by langdetect. Its draws are seeded, so a text has one verdict."""

from __future__ import annotations

from functools import cache
from typing import Any


def detected(text: str) -> str | None:
    """Return the code of the text's language (``en``, ``zh-cn``), or None where there is nothing to tell it by."""
    found = probabilities(text)
    return found[0][0] if found else None


def probabilities(text: str) -> list[tuple[str, float]]:
    """Return the languages that the text may be in, each code with its probability, the likeliest first."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    detector.append(text)
    try:
        return [(each.lang, each.prob) for each in detector.get_probabilities()]
    except LangDetectException:
        return []


def codes() -> list[str]:
    """Return the codes of the languages that can be detected."""
    return _factory().get_lang_list()


@cache
def _factory() -> Any:
    """Return a factory of our own: the library's is global, unseeded, and half loaded while it loads."""
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.seed = 0
    factory.load_profile(PROFILES_DIRECTORY)
    return factory
