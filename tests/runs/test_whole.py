"""A directory is whole or absent, and what has changed since it was written is seen."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from posttrain.runs.whole import bytes_of, read_manifest, why_not_whole, write_text, written_whole


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "final"
    with written_whole(place) as aside:
        (aside / "model.safetensors").write_bytes(bytes(range(256)) * 16)
        (aside / "global_step4").mkdir()
        (aside / "global_step4" / "rank.pt").write_bytes(b"states")
        assert not place.exists()
    return place


def test_what_was_written_is_listed_with_size_and_digest(place: Path, tmp_path: Path) -> None:
    assert why_not_whole(place) is None
    manifest = read_manifest(place)
    assert manifest is not None
    assert manifest["files"]["global_step4/rank.pt"] == {"bytes": 6, "sha256": hashlib.sha256(b"states").hexdigest()}
    assert bytes_of(place) == 256 * 16 + 6
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda place: flip(place / "model.safetensors"), "model.safetensors has changed"),
        (lambda place: flip(place / "global_step4/rank.pt"), "global_step4/rank.pt has changed"),
        (lambda place: (place / "model.safetensors").write_bytes(b"cut"), "3 bytes of 4,096"),
        (lambda place: (place / "global_step4/rank.pt").unlink(), "rank.pt is missing"),
        (lambda place: (place / "optimizer.bin").write_bytes(b"x"), "optimizer.bin is not in"),
        (lambda place: (place / "manifest.json").write_text("{"), "no manifest.json as it was written"),
        (lambda place: flip(place / "manifest.json"), "no manifest.json as it was written"),
        (lambda place: (place / "manifest.json").unlink(), "no manifest.json as it was written"),
    ],
)
def test_any_change_is_noticed(place: Path, harm, said: str) -> None:
    harm(place)
    assert said in str(why_not_whole(place))


def test_a_published_model_may_be_given_further_files(place: Path) -> None:
    (place / "README.md").write_text("mine")
    assert why_not_whole(place, more=True) is None


def test_an_error_while_writing_leaves_what_was_there(place: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), written_whole(place) as aside:
        (aside / "model.safetensors").write_bytes(b"half")
        raise OSError("full")
    assert why_not_whole(place) is None
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_what_is_written_anew_takes_the_place_of_the_old(place: Path, tmp_path: Path) -> None:
    with written_whole(place) as aside:
        (aside / "model.safetensors").write_bytes(b"new")
    assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_text_is_replaced_at_once(tmp_path: Path) -> None:
    write_text(tmp_path / "rows.jsonl", "old\n")
    write_text(tmp_path / "rows.jsonl", "new\n")
    assert (tmp_path / "rows.jsonl").read_text() == "new\n"
    assert len(list(tmp_path.iterdir())) == 1
