"""Where the final answer is in a completion. Every function takes time linear in the text, whatever it is."""

from __future__ import annotations

import re

SPAN_CHARACTERS = 200
"""A marked answer is read up to the end of its line, and no further than this."""

# "Answer:" or "A:" at the start of a line, "the final answer:", "the answer is", "the answer to the question
# is", "Final answer" above its value, and GSM8K's "####", which is also a Markdown heading: "#### Step 2" and
# "#### 2. Add" are none, and nor is "let us check our answer:".
_MARKER = re.compile(
    r"(?<!\#)\#{4}(?!\#)(?![*_\s]*(?:\d+[.):]\s+\S|[^\W\d_]{2}))"
    r"|(?i:(?:^[^\w\n]{0,9}|\b(?:the|my|final|correct)\ )answer[*_]{0,2}\s{0,3}[:=])"
    r"|\bAnswer[*_]{0,2}\s{0,3}[:=]"
    r"|(?i:\banswer(?:\s{1,3}(?:to|for|of)\b[^.:=\n]{0,80}?\b|[*_]{0,2}\s{1,3})is\b)"
    r"|(?i:\bfinal\ answer\b[*_]{0,2}[ \t]{0,8}\n)"
    r"|^[>*_ \t]{0,8}A:",
    re.MULTILINE,
)
# What stands between a marker and its value; a display formula may open on a line of its own.
_BETWEEN = re.compile(r"(?:[\s*_:]|(?:\\\[|\$\$)[ \t]*\n)*")
_BRACES = re.compile(r"(?P<box>\\boxed\s{0,3}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)


def final_text(completion: str) -> str | None:
    """Return the text after thinking, that is after the last ``</think>``; None if thinking never ended."""
    text = completion.rpartition("</think>")[2]
    return None if "<think>" in text else text


def marked(text: str) -> list[str]:
    """Return the text after every final-answer marker, in order, each up to the end of its line.

    A marker with nothing on its own line is followed by the next line. Spans that hold a box are left out:
    `boxed` finds those.
    """
    spans = (text[match.end() : match.end() + SPAN_CHARACTERS] for match in _MARKER.finditer(text))
    lines = (_BETWEEN.sub("", span, count=1).partition("\n")[0].rstrip() for span in spans)
    return [line for line in lines if line and "\\boxed" not in line]


def answer_spans(text: str) -> list[str]:
    """Return the distinct short texts that are marked or boxed as final answers."""
    return list(dict.fromkeys(marked(text) + [box[:SPAN_CHARACTERS] for box in boxed(text)]))


def boxed(text: str) -> list[str]:
    r"""Return the contents of every outermost ``\boxed{...}`` that is closed, in order."""
    spans: list[tuple[int, int]] = []
    opened: list[int | None] = []
    for match in _BRACES.finditer(text):
        if match["box"]:
            opened.append(match.end())
        elif match["open"]:
            opened.append(None)
        elif match["close"] and opened and (start := opened.pop()) is not None:
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, match.start()))
    return [text[start:end].strip() for start, end in spans]


def tagged(text: str, tag: str) -> list[str]:
    """Return what stands inside every ``<tag>...</tag>`` that is closed, in order."""
    parts = (part.partition(f"</{tag}>") for part in text.split(f"<{tag}>")[1:])
    return [inside.strip() for inside, end, _ in parts if end]
