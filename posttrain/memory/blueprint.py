"""The model without its weights: every module and shape that training would have, and not a byte of storage.

transformers builds it from the model's configuration on torch's meta device and peft puts the adapters on, so what is
counted is what will be loaded, whatever the architecture. Its tensors are torch's fake ones, which have a device and
a dtype and can be computed with: only the shapes of the results are worked out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from posttrain.errors import UserError
from posttrain.model.plain import plain_model
from posttrain.model.resolve import Parent
from posttrain.recipe.schema import Lora, Model

if TYPE_CHECKING:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import PreTrainedConfig

# NF4 has half a byte a parameter, each block of 64 a constant of one byte, and 256 of those one in float32 (QLoRA,
# arXiv 2305.14314, section 3, double quantization).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Blueprint:
    """A model as it would be trained. `model` lives in `mode`; `four_bit` says that its linear layers are in NF4."""

    model: Any
    mode: FakeTensorMode
    four_bit: bool = False

    @cached_property
    def plain(self) -> Any:
        """The causal language model inside peft's wrapper."""
        return plain_model(self.model)

    @cached_property
    def parameters(self) -> int:
        """The number of parameters without adapters; those that two modules share count once."""
        return sum(parameter.numel() for name, parameter in self._named() if "lora_" not in name)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights as they are loaded, adapters included."""
        whole = sum(parameter.nbytes for _, parameter in self._named())
        return whole - sum(weight.nbytes - int(weight.numel() * NF4_BYTES) for weight in self._quantized())

    @cached_property
    def trained(self) -> list[torch.Size]:
        """The shapes of the trained parameters."""
        return [parameter.shape for _, parameter in self._named() if parameter.requires_grad]

    @cached_property
    def trained_parameters(self) -> int:
        return sum(shape.numel() for shape in self.trained)

    @cached_property
    def trained_bytes(self) -> int:
        """Bytes of the trained parameters, which are also those of their gradients."""
        return sum(parameter.nbytes for _, parameter in self._named() if parameter.requires_grad)

    @cached_property
    def embedded(self) -> int:
        """Trained parameters of embeddings, which 8-bit optimizers keep 32-bit states of."""
        embedding = self.plain.get_input_embeddings().weight
        return int(embedding.numel()) if embedding.requires_grad else 0

    @cached_property
    def head(self) -> Any:
        """The weight that projects onto the vocabulary: (vocabulary, width)."""
        return self.plain.get_output_embeddings().weight

    @cached_property
    def largest_linear(self) -> int:
        """Parameters of the largest quantized layer, which is written out in full to be multiplied with."""
        return max((int(weight.numel()) for weight in self._quantized()), default=0)

    def _named(self) -> Iterator[tuple[str, Any]]:
        yield from self.model.named_parameters()

    def _quantized(self) -> Iterator[Any]:
        """The weights that bitsandbytes quantizes: of the linear layers, but the output head and the adapters."""
        import torch

        for name, module in self.model.named_modules() if self.four_bit else ():
            if isinstance(module, torch.nn.Linear) and "lora_" not in name and module.weight is not self.head:
                yield module.weight


def configuration(parent: Parent) -> PreTrainedConfig:
    """Return the configuration of a parent's model. Raises UserError where it cannot be read."""
    from transformers import AutoConfig

    from posttrain.model.reading import reading

    with reading(parent):
        return AutoConfig.from_pretrained(
            parent.path,
            revision=parent.revision or "main",
            trust_remote_code=parent.runs_code,
            **({"gguf_file": parent.gguf_file} if parent.gguf_file else {}),
        )


def draw_up(
    config: Any,
    dtype: torch.dtype,
    *,
    attention: str = "auto",
    lora: Lora | None = None,
    four_bit: bool = False,
) -> Blueprint:
    """Return the model of a configuration with weights of `dtype`, and adapters where `lora` is given.

    Raises UserError for a model that is not a causal language model.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    from posttrain.model.load import make_lora, unsharded

    # No random number is drawn, and ZeRO-3 has nothing to share out.
    with torch.random.fork_rng(devices=[]), unsharded(), torch.device("meta"):
        try:
            # Flash and flex attention need packages and devices of their own; they keep what sdpa keeps.
            implementation = "eager" if attention == "eager" else None
            model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=implementation)
        except ValueError as error:
            raise UserError(str(error).splitlines()[0], where="model.path") from error
        if lora is not None:
            import peft

            model = peft.get_peft_model(model, make_lora(lora))
    mode = FakeTensorMode()
    _give_device(model, mode)
    return Blueprint(model, mode, four_bit)


def blueprint_of(parent: Parent, settings: Model, dtype: torch.dtype, *, trained: bool = True) -> Blueprint:
    """Return the model that a recipe's `model` section would train, or only sample from, with weights of `dtype`."""
    blueprint = draw_up(
        configuration(parent),
        dtype,
        attention=settings.attention,
        lora=settings.lora if trained else None,
        four_bit=settings.load_in_4bit,
    )
    if not trained:
        blueprint.model.requires_grad_(False)
    return blueprint


def _give_device(model: Any, mode: FakeTensorMode) -> None:
    """Put the model's tensors on the CPU, as fake ones: autocast and attention ask for a device. Weights that are
    shared stay so."""
    import torch

    made: dict[int, Any] = {}
    with mode:
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in made:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
                    made[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad), parameter
                module._parameters[name] = parameter if parameter is None else made[id(parameter)][0]
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")
