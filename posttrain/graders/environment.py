"""What is installed here, for code that runs in the sandbox: where it is, and what a source needs of it."""

from __future__ import annotations

import sysconfig


def package_directories() -> tuple[str, ...]:
    """Return the directories of installed packages. Where an editable install lies is not among them."""
    return tuple(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))
