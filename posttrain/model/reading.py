"""Reading a model that somebody else wrote: what can go wrong there is the user's to mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posttrain.errors import UserError
from posttrain.model.resolve import Parent


@contextmanager
def reading(parent: Parent) -> Iterator[None]:
    """Turn what the libraries raise for a model that they cannot read into a UserError that names it."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # files that hold something else than they should make the libraries raise anything
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{parent.name} brings code of its own, which is not run",
                where="model.path",
                fix="choose a model that transformers knows, or see model.trust_remote_code in docs/security.md",
            ) from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{parent.name} cannot be loaded: {lines[0]}", where="model.path") from error
