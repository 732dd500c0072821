"""What is installed here, for code that runs in the sandbox: where it is, and what a source needs of it."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder

# Where the distribution is not called as its module is.
_DISTRIBUTIONS = {
    "Bio": "biopython",
    "PIL": "pillow",
    "ast_grep_py": "ast-grep-py",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "rouge_score": "rouge-score",
    "skbio": "scikit-bio",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def package_directories() -> tuple[str, ...]:
    """Return the directories of installed packages. Where an editable install lies is not among them."""
    return tuple(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))


def imported_packages(tree: ast.Module) -> dict[str, int]:
    """Return {module: line} for what a source imports beside the standard library.

    An import within a `try` is left out: the source can do without it.
    """
    found: dict[str, int] = {}
    for node in _outside_try(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.partition(".")[0] not in sys.stdlib_module_names:
                found.setdefault(name, node.lineno)
    return found


def is_installed(module: str) -> bool:
    """Tell whether the sandbox has the package of a module."""
    return PathFinder.find_spec(module.partition(".")[0], list(package_directories())) is not None


def distribution(module: str) -> str:
    """Return what pip calls the package of a module."""
    package = module.partition(".")[0]
    return _DISTRIBUTIONS.get(package, package)


def _outside_try(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and not isinstance(child, ast.Try):
            yield child
            yield from _outside_try(child)
