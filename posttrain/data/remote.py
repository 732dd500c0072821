"""Files in object stores and on the hub, by URL: copied once into the cache, again when they change.

Object stores, the hub and servers by their schemes; ``s3://``, ``gs://``, ``https://`` have extras. fsspec knows more
schemes, and chains of them (``reference::…``, ``zip::…``): some read files of this machine, or run what they read.
Credentials are found as the store's own tools find them; a URL that holds one is refused, since recipes are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from posttrain.data.cache import cache_dir, cached
from posttrain.errors import UserError
from posttrain.progress import progress

Result = TypeVar("Result")

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}

SCHEMES = (
    *EXTRAS, "hf", "az", "abfs", "abfss", "adl", "oci", "oss", "hdfs", "webhdfs", "sftp", "ssh", "ftp", "smb", "memory"
)  # fmt: skip

_BLOCK = 1 << 20


def is_remote(path: str) -> bool:
    """Whether a source's path is a URL."""
    return "://" in path


def fetch(url: str, where: str | None) -> list[tuple[Path, str]]:
    """Local copies of the file at `url`, or of those that it matches as a glob, each with its own URL.

    Raises UserError at `where` for one that cannot be had, saying what it lacks.
    """
    _refuse_unsafe(url, where)
    if offline():
        return _last_copies(url, where)
    fs, found = _found(url, where)
    copies = [(_copy(fs, each, name, where), name) for name, each in found.items()]
    _index(url).parent.mkdir(parents=True, exist_ok=True)
    note = {"copied": time.time(), "files": [(str(copy), name) for copy, name in copies]}
    aside = _index(url).with_suffix(f".{os.getpid()}")  # other ranks write it too
    aside.write_text(json.dumps(note), encoding="utf-8")
    os.replace(aside, _index(url))
    return copies


def in_place(url: str, where: str | None) -> list[tuple[Callable[[], BinaryIO], str]]:
    """What opens each file at `url` where it is, without a copy, and its own URL. Raises UserError as `fetch`."""
    _refuse_unsafe(url, where)
    fs, found = _found(url, where)
    return [(partial(_reached, partial(fs.open, each, "rb"), name, where), name) for name, each in found.items()]


def _refuse_unsafe(url: str, where: str | None) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UserError(f"not a URL: {error}", where=where) from None
    if parts.scheme not in SCHEMES or "::" in url:
        kind = "chained URLs" if "::" in url else f"URLs of {parts.scheme or 'no scheme'}"
        raise UserError(f"{kind} are not read", where=where, fix=f"Rows come from: {', '.join(SCHEMES)}.")
    if parts.username or parts.password or (parts.scheme in ("http", "https") and parts.query):
        raise UserError(
            f"the {parts.scheme} URL holds a credential or a query, which a recipe would keep",
            where=where,
            fix="Log in with the store's own tool (environment variables, a profile), or download the file.",
        )


def _found(url: str, where: str | None) -> tuple[Any, dict[str, str]]:
    """The store, and the path in it of each file, by URL."""
    fs, path = _reached(lambda: _filesystem(url), url, where)
    if not any(sign in path for sign in "*?["):
        return fs, {url: path}
    found = {fs.unstrip_protocol(each): each for each in _reached(lambda: sorted(fs.glob(path)), url, where)}
    if not found:
        raise UserError(f"no file matches {url}", where=where, fix="Check the pattern.")
    return fs, found


def offline() -> bool:
    """Whether the user has asked for no network, as the hub's own tools are asked."""
    asked = (os.environ.get(name, "0").lower() for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    return any(value not in ("", "0", "false") for value in asked)


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(url)


def _copy(fs: Any, path: str, url: str, where: str | None) -> Path:
    """The local copy of the file as it is now."""
    info = _reached(lambda: fs.info(path), url, where)
    name = path.rstrip("/").rpartition("/")[2]
    if urlsplit(url).scheme in ("http", "https") and not info.keys() & {"ETag", "Content-MD5", "Digest"}:
        info = {**info, "modified": _last_modified(url)}
    # Size, time, and the store's own digest of the content; not where a redirect led, which is signed anew each time.
    state = json.dumps({key: value for key, value in info.items() if key != "url"}, sort_keys=True, default=str)
    size = info.get("size")
    copied = cached(
        "remote",
        {"url": url, "info": state},
        lambda into: _download(fs, path, into / name, url, size, where),
        code=False,
    )
    return copied / name


def _last_modified(url: str) -> str:
    """When a web server says that the file changed; now, where it does not say: a stale copy is never taken."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=60) as answer:
            return str(answer.headers["Last-Modified"] or time.time())
    except OSError:
        return str(time.time())


def _download(fs: Any, path: str, to: Path, url: str, size: int | None, where: str | None) -> None:
    def copy() -> None:
        with fs.open(path, "rb") as source, to.open("wb") as target, progress(f"fetching {url}, MB", total) as advance:
            while block := source.read(_BLOCK):
                target.write(block)
                advance()

    total = max(1, (size or 0) // _BLOCK)
    free = shutil.disk_usage(to.parent).free
    if size and size > free:
        raise UserError(
            f"{url} has {size >> 20:,} MB, and the cache {free >> 20:,} MB of room",
            where=where,
            fix="Set POSTTRAIN_CACHE to a larger disk, or read it as it comes: `streaming: true` on the source.",
        )
    _reached(copy, url, where)


def _last_copies(url: str, where: str | None) -> list[tuple[Path, str]]:
    """The copies of an earlier run: what there is without a network."""
    note = json.loads(_index(url).read_text(encoding="utf-8")) if _index(url).exists() else {"files": []}
    copies = [(Path(copy), name) for copy, name in note["files"]]
    if not copies or not all(copy.exists() for copy, _ in copies):
        raise UserError(
            f"{url} has not been copied yet, and the network is switched off (HF_HUB_OFFLINE)",
            where=where,
            fix="Run `posttrain check` on the recipe once with a network: it copies what it needs.",
        )
    print(f"offline: {url} as copied on {time.strftime('%Y-%m-%d', time.gmtime(note['copied']))}", file=sys.stderr)
    return copies


def _index(url: str) -> Path:
    return cache_dir() / "remote-index" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def _reached(work: Callable[[], Result], url: str, where: str | None) -> Result:
    """What `work` returns; whatever a store's library raises is one message."""
    try:
        return work()
    except UserError:
        raise
    except ImportError as error:
        extra = EXTRAS.get(urlsplit(url).scheme)
        fix = f'pip install "posttrain[{extra}]"' if extra else str(error)
        raise UserError(f"{url} needs a library that is not installed", where=where, fix=fix) from error
    except FileNotFoundError as error:
        raise UserError(f"no file {url}", where=where, fix="Check the path.") from error
    except Exception as error:  # each store has errors of its own: rights, network, names
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        raise UserError(f"cannot read {url}: {reason}", where=where) from error
