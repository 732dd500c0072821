"""What tells one model from another: a digest of the files that decide what it computes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

_DECIDING = ("*.json", "*.jinja", "*.safetensors", "*.model", "*.txt")
_WHOLE_BYTES = 64 * 2**20
_STRIDE_BYTES = 16 * 2**20
_SAMPLE_BYTES = 16 * 2**10


def digest_of(path: Path) -> str:
    """Return the sha256 over names, sizes and contents of a file, or of a directory's weights, configuration
    and tokenizer.

    A file above 64 MiB is sampled: its first MiB, where safetensors and GGUF keep their tables, then 16 KiB
    of every 16 MiB and of its end. Training moves every weight matrix, so two checkpoints differ in the
    samples, and a digest of many GB takes a second.
    """
    found = sorted({file for pattern in _DECIDING for file in path.glob(pattern)}) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in found:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _WHOLE_BYTES:
            yield stream.read()
            return
        yield stream.read(2**20)
        for start in (*range(_STRIDE_BYTES, size - _SAMPLE_BYTES, _STRIDE_BYTES), size - _SAMPLE_BYTES):
            stream.seek(start)
            yield stream.read(_SAMPLE_BYTES)
