# ruff: noqa: E501  (a table of names)
"""Code that a model brings is not run, but where the recipe pins it; and no pickle is ever read."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import UserError
from posttrain.model.code import code_digest
from posttrain.model.load import load_model
from posttrain.model.resolve import resolve
from posttrain.model.tokenizer import load_tokenizer
from posttrain.recipe.schema import Model

TINY = Path(resolve("builtin:tiny").path)
CODE = """from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path("{canary}").touch()
class OwnConfig(LlamaConfig):
    model_type = "tiny-own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def own(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that transformers does not know, with the code that makes it."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    return with_config(tmp_path / "own", canary, model_type="tiny-own")


def with_config(path: Path, canary: Path, **changes: Any) -> Path:
    shutil.copytree(TINY, path)
    (path / "own.py").write_text(CODE.format(canary=canary))
    config = json.loads((path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (path / "config.json").write_text(json.dumps(config | changes))
    return path


def test_code_is_refused_with_its_pin_and_run_with_it(own: Path, canary: Path) -> None:
    with pytest.raises(UserError, match=r"made by code of its own \('own.OwnConfig'") as caught:
        resolve(str(own), where="sft.yaml:3 model.path")
    assert caught.value.where == "sft.yaml:3 model.path" and code_digest(own) in str(caught.value)
    assert not canary.exists()
    parent = resolve(str(own), trust_remote_code=code_digest(own))
    assert parent.runs_code and not canary.exists()  # not before it is loaded
    settings = Model(path=str(own), trust_remote_code=code_digest(own), dtype="float32")
    model = load_model(parent, settings, load_tokenizer(parent, settings))
    assert type(model).__name__ == "OwnModel" and canary.exists()


def test_other_code_than_the_pinned_is_refused(own: Path, canary: Path) -> None:
    pin = code_digest(own)
    (own / "own.py").write_text((own / "own.py").read_text() + "\n# changed")
    with pytest.raises(UserError, match="not the one that the recipe trusts"):
        resolve(str(own), trust_remote_code=pin)
    with pytest.raises(UserError, match="has no code of its own"):
        resolve(str(TINY), trust_remote_code=pin)
    config = json.loads((own / "config.json").read_text())
    config["auto_map"]["AutoModelForCausalLM"] = "someone/else--own.OwnModel"
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="lies in another repository"):
        resolve(str(own), trust_remote_code=code_digest(own))
    assert not canary.exists()


def test_code_of_a_known_model_is_left_alone(tmp_path: Path, canary: Path) -> None:
    path = with_config(tmp_path / "known", canary)
    (path / "custom_generate").mkdir()
    shutil.copy(path / "own.py", path / "custom_generate" / "generate.py")
    parent, settings = resolve(str(path)), Model(path=str(path), dtype="float32")
    model = load_model(parent, settings, load_tokenizer(parent, settings))
    assert type(model).__name__ == "LlamaForCausalLM" and not parent.runs_code and not canary.exists()


def test_a_tokenizer_with_code_is_refused(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(TINY, path)
    (path / "own.py").write_text(CODE.format(canary=canary))
    config = json.loads((path / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}, "tokenizer_class": "OwnTokenizer"}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    settings = Model(path=str(path))
    try:
        load_tokenizer(resolve(str(path)), settings)
    except UserError as error:
        assert "code of its own" in str(error) or "cannot be loaded" in str(error)
        assert "pass the argument" not in str(error)
    assert not canary.exists()


def test_kernels_of_the_hub_are_refused(tmp_path: Path, canary: Path) -> None:
    for number, value in enumerate(("someone/kernel", {"": "someone/kernel"})):
        path = with_config(tmp_path / str(number), canary, attn_implementation=value)
        with pytest.raises(UserError, match="compiled code of the hub"):
            resolve(str(path))


def test_a_configuration_that_is_no_json_is_one_message(tmp_path: Path) -> None:
    for number, content in enumerate((b"{", b"[]", b"\xff", b"[" * 100_000)):
        path = tmp_path / str(number)
        shutil.copytree(TINY, path)
        (path / "config.json").write_bytes(content)
        parent = None
        with pytest.raises(UserError):
            parent = resolve(str(path))
            load_model(parent, Model(path=str(path)), load_tokenizer(parent, Model(path=str(path))))


class Bomb:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (Path.touch, (self.canary,))


NAMES = [
    "pytorch_model.bin", "model.pt", "model.pth", "consolidated.00.pth", "adapter_model.bin", "training_args.bin", "optimizer.pt",
    "scheduler.pt", "rng_state.pth", "scaler.pt", "tokenizer.pkl", "tokenizer.pt", "tokenizer.model", "tokenizer.bin", "vocab.pkl",
    "vocab.bin", "merges.pkl", "config.pkl", "cache.npz", "embeddings.npy", "state.joblib", "trainer_state.pkl", "custom_generate.pkl",
    "flax_model.msgpack", "tf_model.h5", "model.ckpt", "pytorch_model.bin.index.json", "spiece.model", "sentencepiece.bpe.model",
    "vocab.txt", "special_tokens_map.json", "generation_config.json", "added_tokens.json", "chat_template.json", "processor_config.json",
    "kv_cache_scales.pt", "quantize_config.json",
]  # fmt: skip


def planted(path: Path, canary: Path, names: list[str] = NAMES) -> Path:
    for name in names:
        file = path / name
        if name.endswith((".pt", ".pth", ".npz")):
            with zipfile.ZipFile(file, "w") as archive:  # torch's own format, and numpy's
                archive.writestr("archive/data.pkl" if name != "cache.npz" else "a.npy", pickle.dumps(Bomb(canary)))
                archive.writestr("archive/version", "3\n")
        else:
            file.write_bytes(pickle.dumps(Bomb(canary)))
    return path


def test_the_bomb_goes_off_where_it_is_read(canary: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(canary)))
    assert canary.exists()


@pytest.mark.parametrize("name", NAMES)
def test_no_pickle_beside_the_weights_is_read(tmp_path: Path, canary: Path, name: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(TINY, path)
    planted(path, canary, [name])
    settings = Model(path=str(path), dtype="float32")
    try:
        parent = resolve(str(path))
        load_model(parent, settings, load_tokenizer(parent, settings))
    except UserError:
        pass  # a file that should be JSON and is none
    assert not canary.exists()


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize("decoy", [None, "other.safetensors", "adapter_model.safetensors"])
def test_weights_as_pickles_are_not_read(tmp_path: Path, canary: Path, weights: str, decoy: str | None) -> None:
    path = tmp_path / "model"
    shutil.copytree(TINY, path)
    (path / "model.safetensors").unlink()
    planted(path, canary, [weights])
    if decoy:
        (path / decoy).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(UserError):
        parent = resolve(str(path))
        load_model(parent, Model(path=str(path)), load_tokenizer(parent, Model(path=str(path))))
    assert not canary.exists()


def test_an_adapter_as_a_pickle_is_refused(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(TINY), "peft_type": "LORA"})
    )
    planted(tmp_path, canary, ["adapter_model.bin"])
    for decoy in (None, "adapter_model_x.safetensors"):
        if decoy:
            (tmp_path / decoy).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
        with pytest.raises(UserError, match="pickles"):
            resolve(str(tmp_path))
    assert not canary.exists()


@pytest.mark.parametrize("field", ["weight_map", "metadata"])
def test_an_index_that_leads_out_of_the_directory(tmp_path: Path, canary: Path, field: str) -> None:
    """The names of shards come from a file of the model: one leads to a pickle elsewhere."""
    path = tmp_path / "model"
    shutil.copytree(TINY, path)
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(Bomb(canary)))
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../evil.bin"}}
    (path / "model.safetensors.index.json").write_text(json.dumps({field: index[field]}))
    with pytest.raises(UserError):
        parent = resolve(str(path))
        load_model(parent, Model(path=str(path)), load_tokenizer(parent, Model(path=str(path))))
    assert not canary.exists()
