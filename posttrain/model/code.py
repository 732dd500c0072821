"""Code that a model brings with it. It is run only where the recipe pins it: a hub model's commit, or a digest of the
Python files of a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from posttrain.errors import UserError, brief

_CONFIG, _TOKENIZER = "config.json", "tokenizer_config.json"
_NATIVE = "choose a model that transformers knows"


def code_digest(path: Path) -> str:
    """Return the sha256 over the names and contents of a directory's Python files."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(path).as_posix()}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def check_code(
    name: str,
    files: Iterable[str],
    read: Callable[[str], Any],
    pin: Callable[[], str],
    trusted: str | None,
    where: str | None,
) -> bool:
    """Return whether the code that a model brings may be run: where it needs it and `trusted` is its `pin`.

    `files` are the model's, `read` gives one of its JSON files. Raises UserError for a model that cannot be had without
    its code, for another pin than the recipe's, for code of another repository, and for kernels to be downloaded.
    """
    listed = set(files)
    config = _mapping(read(_CONFIG)) if _CONFIG in listed else {}
    tokenizer = _mapping(read(_TOKENIZER)) if _TOKENIZER in listed else {}
    _refuse_kernels(name, config, where)
    classes = [*_classes(config), *_classes(tokenizer)]
    if not classes:
        if trusted:
            raise UserError(f"{name} has no code of its own", where=where, fix="leave model.trust_remote_code out")
        return False
    if trusted is None:
        if _classes(config) and not _is_known(config.get("model_type")):
            raise UserError(
                f"{name} is made by code of its own ({', '.join(map(brief, classes[:3]))}), which is not run",
                where=where,
                fix=f"{_NATIVE}; or read the code, and where you trust it, set model.trust_remote_code: {pin()}",
            )
        return False  # transformers has this model, and takes its own code
    if any("--" in each for each in classes):
        raise UserError(
            f"the code of {name} lies in another repository, where nothing pins it", where=where, fix=_NATIVE
        )
    if pin() != trusted:
        raise UserError(
            f"the code of {name} is not the one that the recipe trusts: model.trust_remote_code is "
            f"{trusted[:12]}…, and this is {pin()}",
            where=where,
            fix="read what has changed before you write the new one",
        )
    return True


def _mapping(document: Any) -> dict[str, Any]:
    return document if isinstance(document, dict) else {}


def _classes(config: dict[str, Any]) -> list[str]:
    """Return the classes of the model's own that a configuration names."""
    named = config.get("auto_map")
    listed = named.values() if isinstance(named, dict) else [named] if named else []
    flat = (each for entry in listed for each in (entry if isinstance(entry, list | tuple) else [entry]))
    return [str(each) for each in flat if each]


def _is_known(model_type: Any) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _refuse_kernels(name: str, config: dict[str, Any], where: str | None) -> None:
    """Raise UserError where the configuration asks for compiled code from the hub."""
    for key, value in config.items():
        words = value.values() if isinstance(value, dict) else [value]
        if key.endswith("_implementation") and any(isinstance(word, str) and "/" in word for word in words):
            raise UserError(
                f"{name} asks for compiled code of the hub ({_CONFIG}: {key} {brief(value)}), which is not run",
                where=where,
                fix=f"take {key} out of its {_CONFIG}",
            )
