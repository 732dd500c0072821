"""What can go wrong on the user's side, and how it is said: one message with its place, and an exit code.

Exit codes: 0 done, 1 a bug or a crash, 2 something the user can mend, 3 a gate said no,
130/143 stopped by SIGINT, or by another signal or a time limit, after saving what it goes on from.
"""

from __future__ import annotations

import difflib
import reprlib
import signal
from collections.abc import Iterable, Sequence
from itertools import islice

_LONGEST_WORD = 80  # characters
_LONGEST_LINE = 2000  # characters, printed
_MOST_KNOWN = 1000  # names that a word is compared with
_MOST_LISTED = 30  # names in a message
MOST_ERRORS = 50
"""So many are printed one after the other; the rest are counted."""
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = _LONGEST_WORD

EXIT_DONE = 0
EXIT_CRASH = 1
EXIT_USER = 2
EXIT_GATE = 3
EXIT_INTERRUPTED, EXIT_STOPPED = 130, 143


class UserError(Exception):
    """Something the user can mend. Printed as one short message, never as a traceback; exit code 2.

    `where` is a place the user can open (``file:line key``), `fix` what to do about it.
    """

    exit_code = EXIT_USER

    def __init__(self, message: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        text = f"{text}\n  {self.fix}" if self.fix else text
        return text if len(text) <= _LONGEST_LINE else "\n".join(map(_printable, text.split("\n")))


class UserErrors(UserError):
    """Several errors found in one pass; printed one after the other."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        more = len(errors) - MOST_ERRORS
        said = [str(error) for error in errors[:MOST_ERRORS]] + [f"and {more:,} more errors"] * (more > 0)
        super().__init__("\n".join(said))
        self.errors = list(errors)


class GateError(UserError):
    """A check that is meant to stop a pipeline said no (no RL signal, an eval below its bar); exit code 3."""

    exit_code = EXIT_GATE


class OutOfMemory(UserError):
    """Memory ran out, of a GPU or of the machine; a smaller batch may do."""


class Stopped(BaseException):
    """The command was asked to stop, by a signal or by its time limit, and has kept what it goes on from.

    No Exception, since no code that looks for errors should take it for one. `kept` says what there is to go on from,
    and is set by who knows.
    """

    def __init__(self, number: int, kept: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.kept = kept

    @property
    def exit_code(self) -> int:
        return stop_code(self.number)

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


def stop_code(number: int) -> int:
    """Return the exit code of a command that a signal stopped: one says that it was the user, one that it goes on."""
    return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_STOPPED


def _printable(line: str) -> str:
    """`line`, or its two ends: what it quotes may be a book."""
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def brief(value: object) -> str:
    """`value` as code writes it, on one line that is not too long to print."""
    text = _BRIEF.repr(value)
    return text if len(text) <= 2 * _LONGEST_WORD else f"{text[: 2 * _LONGEST_WORD]}…"


def listed(names: Iterable[object]) -> str:
    """Names one after the other, as a message has room for them."""
    first = [str(name) for name in islice(names, _MOST_LISTED + 1)]
    said = [name if name.isprintable() and len(name) <= _LONGEST_WORD else brief(name) for name in first]
    return ", ".join(said[:_MOST_LISTED] + ["…"] * (len(said) > _MOST_LISTED))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known word nearest to `word`, or an empty string."""
    if len(word) > _LONGEST_WORD:
        return ""
    among = [other for other in islice(known, _MOST_KNOWN) if len(other) <= _LONGEST_WORD]
    nearest = difflib.get_close_matches(word, among, n=1, cutoff=0.6)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""
