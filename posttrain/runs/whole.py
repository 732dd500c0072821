"""Directories that are whole or absent: written aside, flushed, listed in a manifest that is written last, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posttrain.limits import cores

MANIFEST = "manifest.json"
PARTIAL = ".partial"
"""What a name ends with while it is not whole."""

_CHUNK_BYTES = 2**20

Entry = Mapping[str, Any]


@contextmanager
def written_whole(place: Path, **facts: Any) -> Iterator[Path]:
    """Give an empty directory to write into; when all of it is written it becomes `place`, flushed and with its
    manifest and `facts`, in place of what was there. After an error nothing is left of it."""
    aside = place.with_name(place.name + PARTIAL)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        write_manifest(aside, flushed(aside, files_of(aside)), **facts)
        publish(aside, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all: aside, flushed to the disk, then renamed."""
    aside = path.with_name(path.name + PARTIAL)
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    flush_names(path.parent)


def files_of(root: Path) -> list[str]:
    """Return the files below a directory but its manifest, as paths within it, in order."""
    found = (path for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(str(path.relative_to(root)) for path in found if path != root / MANIFEST)


def flushed(root: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Have the disk keep these files, and return size and sha256 of each as they are now."""

    def entry(name: str) -> Entry:
        with (root / name).open("rb") as file:
            os.fsync(file.fileno())
        return {"bytes": (root / name).stat().st_size, "sha256": sha256_of(root / name)}

    return _each(entry, names)


def write_manifest(root: Path, files: Mapping[str, Entry], **facts: Any) -> None:
    """Write the list of a directory's files, with `facts` about them, and have the disk keep that too."""
    document = {**facts, "files": dict(sorted(files.items()))}
    with (root / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({**document, "sha256": _digest(document)}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        flush_names(folder)


def publish(aside: Path, place: Path) -> None:
    """Give a directory that is whole its name; what had the name goes."""
    before = place.with_name(f"{place.name}.before{PARTIAL}")
    if place.exists():
        shutil.rmtree(before, ignore_errors=True)
        place.rename(before)
    aside.rename(place)
    flush_names(place.parent)
    shutil.rmtree(before, ignore_errors=True)


def flush_names(folder: Path) -> None:
    """Have the disk keep the names in a directory."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(root: Path) -> dict[str, Any] | None:
    """Return a directory's manifest, None where there is none as it was written."""
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.pop("sha256", None) != _digest(manifest):
        return None
    return manifest


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def why_not_whole(root: Path, *, more: bool = False, read: bool = True) -> str | None:
    """Return what a directory's files lack of what its manifest says, None when each is as it was written.

    Further files are none of it, unless `more` may lie there. Without `read` only names and sizes are looked at.
    """
    manifest = read_manifest(root)
    if manifest is None:
        return f"it has no {MANIFEST} as it was written"
    files, there = manifest["files"], files_of(root)
    for name in sorted(files.keys() - set(there)):
        return f"{name} is missing"
    for name in [] if more else sorted(set(there) - files.keys()):
        return f"{name} is not in its {MANIFEST}"
    for name in sorted(files):
        size = (root / name).stat().st_size
        if size != files[name]["bytes"]:
            return f"{name} has {size:,} bytes of {files[name]['bytes']:,}"
    found = _each(lambda name: {"sha256": sha256_of(root / name)}, sorted(files) if read else [])
    changed = (name for name, entry in found.items() if entry["sha256"] != files[name]["sha256"])
    return next((f"{name} has changed since it was written" for name in changed), None)


def sha256_of(path: Path) -> str:
    """Return the sha256 of all of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def bytes_of(root: Path) -> int:
    """Return what a whole directory's files take, by its manifest."""
    manifest = read_manifest(root)
    return sum(entry["bytes"] for entry in manifest["files"].values()) if manifest else 0


def _each(work: Any, names: Iterable[str]) -> dict[str, Entry]:
    """Return what `work` returns of each name; files are read on all cores, since hashing lets go of the others."""
    names = list(names)
    with ThreadPoolExecutor(min(cores(), 8)) as pool:
        return dict(zip(names, pool.map(work, names), strict=True))
