"""Importing torch and the libraries on it."""

from __future__ import annotations

import gc
import importlib


def import_all(*names: str) -> None:
    """Import modules without a search for cycles meanwhile: with torch and the libraries on it, a fifth of the time
    goes there, over hundreds of thousands of objects that stay. Later searches leave them out."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
