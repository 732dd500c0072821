"""Files by URL: copied once, again when they change, and what is lacking said."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from posttrain.data.load import load_data
from posttrain.data.read import read_rows
from posttrain.data.remote import fetch
from posttrain.errors import UserError
from posttrain.recipe.load import load_recipe
from posttrain.recipe.schema import Data


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTTRAIN_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's store in memory."""
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()


def rows(*numbers: int) -> bytes:
    return "".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in numbers).encode()


def test_a_url_is_read_like_a_file(bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe("/chats/a.jsonl", rows(1, 2))
    bucket.pipe("/chats/b.jsonl.gz", gzip.compress(rows(3)))
    read = list(read_rows("memory://chats/*.jsonl*"))
    assert [(row["prompt"], place) for row, place in read] == [
        ("q1", "memory:///chats/a.jsonl:1"),
        ("q2", "memory:///chats/a.jsonl:2"),
        ("q3", "memory:///chats/b.jsonl.gz:1"),
    ]
    loaded = load_data(Data(train=[{"path": "memory://chats/a.jsonl"}]), "sft", seed=1, parts=("train",))
    assert loaded.notes == ["train: memory://chats/a.jsonl: 2 rows of prompt/completion"]


def test_a_copy_is_made_once_until_the_file_changes(bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe("/chats/a.jsonl", rows(1, 2))
    ((first, _),) = fetch("memory://chats/a.jsonl", None)
    made = first.stat().st_mtime_ns
    assert fetch("memory://chats/a.jsonl", None)[0][0].stat().st_mtime_ns == made
    bucket.pipe("/chats/a.jsonl", rows(1, 3))
    ((second, _),) = fetch("memory://chats/a.jsonl", None)
    assert second.read_bytes() == rows(1, 3)


def test_offline_takes_the_last_copy_or_says_what_is_missing(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.pipe("/chats/a.jsonl", rows(1))
    fetch("memory://chats/*.jsonl", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bucket.rm("/chats/a.jsonl")
    ((copy, name),) = fetch("memory://chats/*.jsonl", None)
    assert (copy.read_bytes(), name) == (rows(1), "memory:///chats/a.jsonl")
    assert "offline: memory://chats/*.jsonl as copied on 2" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"other\.jsonl has not been copied yet, and the network is switched off"):
        fetch("memory://chats/other.jsonl", "sft.yaml:5 data.train[0].path")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://chats/none.jsonl", "no file memory://chats/none.jsonl"),
        ("memory://chats/*.csv", "no file matches"),
        ("zzz://chats/a.jsonl", "URLs of zzz are not read"),
        ("https://me:secret@example.org/a.jsonl", "holds a credential"),
        ("https://example.org/a.jsonl?token=secret", "holds a credential or a query"),
    ],
)
def test_what_cannot_be_had_is_one_message(url: str, said: str, bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe("/chats/a.jsonl", rows(1))
    with pytest.raises(UserError, match=said) as raised:
        fetch(url, "sft.yaml:5 data.train[0].path")
    assert raised.value.where == "sft.yaml:5 data.train[0].path"
    assert "secret" not in str(raised.value)


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(UserError, match=r'pip install "posttrain\[s3\]"'):
        fetch("s3://bucket/a.jsonl", None)


def test_a_web_server_is_a_store(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.jsonl").write_bytes(rows(1, 2))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/a.jsonl"
        assert [row["prompt"] for row, _ in read_rows(url)] == ["q1", "q2"]
        with pytest.raises(UserError, match="no file http"):
            list(read_rows(url + "x"))
    finally:
        server.shutdown()


def test_a_recipe_leaves_urls_as_they_are(tmp_path: Path) -> None:
    recipe = tmp_path / "sft.yaml"
    recipe.write_text("stage: sft\nout: runs/sft\ndata:\n  train: [{path: 's3://bucket/chats/*.jsonl'}]\n")
    assert load_recipe(recipe, stage="sft").recipe.data.train[0].path == "s3://bucket/chats/*.jsonl"


@pytest.mark.parametrize("headers", [{}, {"Last-Modified": "the date"}])
def test_a_web_server_without_digests_never_gives_a_stale_copy(headers: dict[str, str]) -> None:
    """And one that redirects to an address signed anew each time is asked for the content once."""
    served: list[str] = []
    said = {"content": rows(1), **headers}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "signed" not in self.path:
                self.send_response(302)
                self.send_header("Location", f"{self.path}?signed={time.time_ns()}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(said["content"])))
            if "Last-Modified" in said:
                self.send_header("Last-Modified", str(said["Last-Modified"]))
            self.end_headers()
            if self.command == "GET":
                served.append(self.path)
                self.wfile.write(said["content"])

        do_HEAD = do_GET  # the name that the server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/a.jsonl"
        first = fetch(url, None)[0][0]
        if headers:
            assert fetch(url, None)[0][0] == first
        said |= {"content": rows(2)} | dict.fromkeys(headers, "another date")  # as many bytes as before
        assert fetch(url, None)[0][0].read_bytes() == rows(2)
    finally:
        server.shutdown()
