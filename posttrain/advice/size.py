"""How large a model is, from its configuration and the headers of its weights. No weights are read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import UserError
from posttrain.model.resolve import Parent


@dataclass(frozen=True)
class Size:
    """Parameters and shape. `context` is the most tokens that it reads."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    context: int | None


def size_of(parent: Parent) -> Size:
    """The size of a model; adapters count as merged. Raises UserError where its files do not tell."""
    try:
        if parent.gguf_file:
            return _gguf(Path(parent.path) / parent.gguf_file)
        if parent.kind == "hub" or not Path(parent.path).is_dir():
            return _from_config(_hub_config(parent), None)
        config = json.loads((Path(parent.path) / "config.json").read_text(encoding="utf-8"))
        files = sorted(Path(parent.path).glob("*.safetensors"))
        return _from_config(config, sum(sum(map(math.prod, _shapes(file))) for file in files))
    except (KeyError, OSError, ValueError) as error:
        raise UserError(f"the size of {parent.name} is not to be had: {error!r}", where="--model") from error


def _from_config(config: Mapping[str, Any], parameters: int | None) -> Size:
    config = config.get("text_config", config)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    kv = head * (config.get("num_key_value_heads") or heads)
    intermediate, vocabulary = config.get("intermediate_size") or 4 * hidden, config["vocab_size"]
    if parameters is None:
        embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
        layer = 2 * hidden * heads * head + 2 * hidden * kv + 3 * hidden * intermediate + 2 * hidden
        parameters = embeddings + layers * layer + hidden
    return Size(parameters, layers, hidden, intermediate, vocabulary, config.get("max_position_embeddings"))


def _shapes(file: Path) -> Iterator[list[int]]:
    """The shapes in a safetensors file: eight bytes say how long the JSON is that names them."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    yield from (entry["shape"] for name, entry in header.items() if name != "__metadata__")


def _hub_config(parent: Parent) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(parent.path, "config.json", revision=parent.revision)
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _gguf(file: Path) -> Size:
    from gguf import GGUFReader

    reader = GGUFReader(file)
    name = str(reader.fields["general.architecture"].contents())

    def value(key: str) -> int:
        return int(reader.fields[f"{name}.{key}"].contents())

    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    hidden = value("embedding_length")
    return Size(
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        layers=value("block_count"),
        hidden=hidden,
        intermediate=value("feed_forward_length"),
        vocabulary=max(shapes["token_embd.weight"]),
        context=value("context_length"),
    )
