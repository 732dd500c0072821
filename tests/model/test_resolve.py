from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.errors import UserError
from posttrain.model.resolve import Adapter, check_whole, resolve
from posttrain.runs import checkpoints
from posttrain.runs.whole import written_whole

TINY = Path(resolve("builtin:tiny").path)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path):
    """A finished run of two generations."""
    run = tmp_path / "runs" / "sft"
    shutil.copytree(TINY, run / "final")
    (run / "recipe.yaml").write_text("stage: sft\n")
    (run / "run.json").write_text('{"stage": "sft"}')
    lineage = [{"stage": "sft", "base_model": "org/base"}, {"stage": "dpo", "base_model": "org/base"}]
    (run / "final" / "lineage.json").write_text(json.dumps(lineage))
    return run


def adapter_on(base: str, place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"}))
    (place / "adapter_model.safetensors").write_bytes(place.name.encode())
    return place


def message(name: str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        resolve(name, where="sft.yaml:3 model.path", **settings)
    assert "sft.yaml:3 model.path" in str(caught.value)
    return str(caught.value)


def test_builtin():
    parent = resolve("builtin:tiny")
    assert (parent.kind, parent.base_model, parent.lineage, parent.is_plain) == (
        "builtin",
        "builtin:tiny",
        [],
        True,
    )
    assert "Did you mean 'builtin:tiny'?" in message("builtin:tinny")


def test_directory_keeps_its_lineage_when_copied(run, tmp_path):
    shutil.copytree(run / "final", tmp_path / "copy")
    parent = resolve(str(tmp_path / "copy"))
    assert (parent.kind, parent.run, parent.base_model) == ("directory", None, "org/base")
    assert [generation["stage"] for generation in parent.lineage] == ["sft", "dpo"]


def test_run_and_its_final_are_the_same(run):
    by_run, by_final = resolve(str(run)), resolve("runs/sft/final")
    assert by_run.kind == by_final.kind == "run"
    assert by_run.path == by_final.path == str(run / "final")
    assert by_run.run == by_final.run == run
    assert by_run.digest == by_final.digest
    (run / "run.json").write_text('{"stage": "sft", "finished": "later"}')
    assert resolve(str(run)).digest != by_run.digest


@pytest.mark.parametrize("name", ["runs/sft", "runs/sft/final"])
def test_unfinished_run_is_refused(run, name):
    (run / "run.json").unlink()
    said = message(name)
    assert "unfinished run" in said
    assert f"posttrain sft {run / 'recipe.yaml'}" in said


def test_adapter_on_an_adapter(tmp_path):
    adapter_on(str(TINY), tmp_path / "one")
    two = adapter_on("../one", tmp_path / "two")
    parent = resolve(str(two))
    assert (parent.kind, parent.path) == ("adapter", str(TINY))
    assert [Path(adapter.path).resolve().name for adapter in parent.adapters] == ["one", "two"]
    assert parent.adapters[-1] == Adapter(str(two))
    assert not parent.is_plain
    assert parent.digest != resolve(str(tmp_path / "one")).digest


def test_run_whose_final_is_an_adapter(run):
    shutil.rmtree(run / "final")
    adapter_on("builtin:tiny", run / "final")
    parent = resolve(str(run))
    assert (parent.kind, parent.run, parent.path) == ("run", run, str(TINY))
    assert parent.adapters == (Adapter(str(run / "final")),)


def test_adapter_without_or_with_a_missing_base(tmp_path):
    assert "does not say what it adapts" in message(str(adapter_on("", tmp_path / "none")))
    assert "does not say what it adapts" in message(str(adapter_on(".", tmp_path / "itself")))
    said = message(str(adapter_on("/gone/model", tmp_path / "orphan")))
    assert "base model of the adapter" in said and "/gone/model is not there" in said


def test_pickles_are_refused(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text("{}")
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"")
    assert "pickles" in message("old")
    (tmp_path / "old" / "pytorch_model.bin").unlink()
    assert "holds no weights" in message("old")
    adapter_on("builtin:tiny", tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    assert "pickles" in message("adapter")


def test_directory_without_a_model_says_what_was_looked_for(run):
    said = message("runs")
    assert "recipe.yaml" in said and "adapter_config.json" in said and "config.json" in said
    assert "inside it: runs/sft" in said.replace(str(Path.cwd()) + "/", "")


def test_gguf_file(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF....")
    parent = resolve("model.gguf")
    assert (parent.kind, parent.path, parent.gguf_file) == ("gguf", str(tmp_path), "model.gguf")
    assert not parent.is_plain
    (tmp_path / "fake.gguf").write_bytes(b"version https://git-lfs")
    assert "not a GGUF model" in message("fake.gguf")
    assert "name one of its files: fake.gguf, model.gguf" in message_of_gguf_folder(tmp_path)


def message_of_gguf_folder(folder: Path) -> str:
    (folder / "config.json").write_text("{}")
    return message(str(folder))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("runs/sfft", "Did you mean 'runs/sft'?"),
        ("./runs/stf", "Did you mean 'runs/sft'?"),
        ("runs/sft/finall", "Did you mean 'runs/sft/final'?"),
        ("model.ggf", "not on the hub"),
        ("nowhere.gguf", "is not there"),
        ("tiny", "Did you mean 'builtin:tiny'?"),
        ("org/name", "not on the hub"),
        ("", "name is empty"),
    ],
)
def test_what_is_not_there(run, name, hint):
    assert hint in message(name)


def test_digest_follows_every_deciding_file(tmp_path):
    shutil.copytree(TINY, tmp_path / "a")
    shutil.copytree(TINY, tmp_path / "b")
    (tmp_path / "b" / "README.md").write_text("a card changes nothing")
    assert resolve("a").digest == resolve("b").digest
    template = tmp_path / "b" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert resolve("a").digest != resolve("b").digest


def test_digest_of_a_large_file_sees_a_change_in_a_matrix(tmp_path):
    from posttrain.model.digest import digest_of

    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(80 * 2**20))
    before = digest_of(file)
    with file.open("r+b") as stream:
        stream.seek(33 * 2**20)
        stream.write(b"\1" * (16 * 2**20))
    assert digest_of(file) != before


def test_hub_model_from_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "abc123" + 34 * "0"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--name"
    shutil.copytree(TINY, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    parent = resolve("org/name")
    assert (parent.kind, parent.path, parent.revision) == ("hub", "org/name", commit)
    assert parent.digest == f"org/name@{commit}"
    assert "not on the hub" in message("org/name", revision="v2")


def test_a_missing_model_is_said_without_torch():
    code = (
        "import sys\nfrom posttrain.errors import UserError\nfrom posttrain.model.resolve import resolve\n"
        "try: resolve('org/name')\nexcept UserError: pass\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"HF_HUB_OFFLINE": "1", "PYTHONPATH": _package()})


def _package() -> str:
    return str(TINY.parent.parent.parent)


def test_a_part_of_a_run_is_a_parent_only_when_it_is_whole(run, tmp_path):
    (run / "inputs.json").write_text("{}")
    place = checkpoints.place_of(run, 8)
    with written_whole(place) as aside:
        shutil.copytree(TINY, aside, dirs_exist_ok=True)
        with pytest.raises(UserError, match="no finished model"):
            resolve(str(aside))
    assert resolve(str(place)).kind == "directory"
    weights = place / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: model\.safetensors has changed"):
        check_whole(resolve(str(place)))
    weights.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"is not whole: model\.safetensors has"):
        resolve(str(place))
    (place / "manifest.json").unlink()
    with pytest.raises(UserError, match="is not whole: it has no manifest"):
        resolve(str(place))
    for part in ("final.partial", "checkpoints/checkpoint-8.broken", "policy"):
        shutil.copytree(TINY, run / part)
        with pytest.raises(UserError, match=f"no finished model\n  name the run itself: {run}"):
            resolve(str(run / part))
