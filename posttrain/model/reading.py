"""Reading a model that somebody else wrote: what can go wrong there is the user's to mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posttrain.errors import UserError
from posttrain.model.resolve import Parent


@contextmanager
def reading(parent: Parent) -> Iterator[None]:
    """Turn what the libraries raise for a model that they cannot read into a UserError that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{parent.name} cannot be loaded: {lines[0]}", where="model.path") from error
