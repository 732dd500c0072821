"""How much memory a stage takes on each device, part by part, at the moments when it is highest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from posttrain.memory.blueprint import Blueprint
from posttrain.memory.head import Head, head_of
from posttrain.memory.optimizer import is_known, is_paged, state_bytes, step_bytes
from posttrain.memory.rehearsal import Kept, cache_bytes, rehearse
from posttrain.memory.work import Work

Parts = dict[str, int]

_LIBRARIES = {True: 500_000_000, False: 300_000_000}
"""Bytes beside all tensors. On a GPU: its context and the libraries' workspaces, a usual figure that was not measured
here. On a CPU, as measured: workspaces, and what the C library keeps of memory that was freed."""

_BUCKET = 50_000_000  # numbers of a bucket, as `launch/deepspeed.py` sets it
_LIVE = 1_000_000_000  # weights that ZeRO-3 leaves gathered (stage3_max_live_parameters, DeepSpeed's default)
_PREFILL = 2048  # tokens of one pass over prompts, as in `engines/batch.py`


@dataclass(frozen=True)
class Estimate:
    """Bytes on one device by moment and part, and in main memory for each process (what is offloaded).

    `weights` is what cannot be done without. `notes` say what was taken for granted.
    """

    moments: dict[str, Parts]
    host: Parts
    weights: int
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The most that a device holds at a time."""
        return max(sum(parts.values()) for parts in self.moments.values())


@dataclass(frozen=True)
class States:
    """What stays from step to step, and what a step needs beside it, in bytes on the device; `host` in main memory."""

    weights: int
    gradients: int
    optimizer: int
    step: int
    buckets: int
    reference: int
    host: Parts

    def parts(self) -> Parts:
        return {
            "weights": self.weights,
            "reference": self.reference,
            "optimizer": self.optimizer,
            "gradient buckets": self.buckets,
        }


def estimate(work: Work, blueprint: Blueprint) -> Estimate:
    """Return what a device holds for `work` on the model of `blueprint`."""
    states = states_of(work, blueprint)
    moments: dict[str, Parts] = {}
    if work.rows:
        kept = rehearse(blueprint, work.rows, work.width, work.autocast)
        head, written_out = head_of(blueprint, work), blueprint.largest_linear * work.compute.itemsize
        moments["training"] = max(
            _training(work, states, kept, head, written_out), key=lambda parts: sum(parts.values())
        )
    if work.sampled:
        moments["sampling"] = _sampling(work, blueprint, states)
    if not moments:
        moments["loading"] = {"weights": states.weights}
    notes = []
    if work.rows and not is_known(work.optim):
        notes.append(f"optimizer {work.optim}: counted as AdamW")
    libraries = {"libraries": _LIBRARIES[work.on_gpu]}
    compact = {
        name: {part: size for part, size in (parts | libraries).items() if size} for name, parts in moments.items()
    }
    return Estimate(compact, {part: size for part, size in states.host.items() if size}, states.weights, notes)


def states_of(work: Work, blueprint: Blueprint) -> States:
    """Return the bytes of weights, gradients and optimizer, shared out as ZeRO does (arXiv 1910.02054, section 5).

    DeepSpeed keeps the weights in the dtype of the products and a float32 copy of the trained ones beside Adam's
    moments; a step has float32 gradients of its part. PyTorch's data parallelism copies gradients into buckets.
    """
    weights, trained = blueprint.weight_bytes, blueprint.trained_parameters
    reference = weights if work.copied_reference else 0
    if not work.rows:
        return States(weights, 0, 0, 0, 0, reference, {})
    itemsize = 4 if work.zero else blueprint.trained_bytes // trained
    state = state_bytes(work.optim, blueprint.trained, embedded=blueprint.embedded, itemsize=itemsize)
    step = step_bytes(work.optim, blueprint.trained, on_gpu=work.on_gpu)
    if work.zero == 0:
        buckets = blueprint.trained_bytes if work.ranks > 1 else 0
        paged = state if is_paged(work.optim) and work.on_gpu else 0
        host = {"paged optimizer": paged}
        return States(weights, blueprint.trained_bytes, state - paged, step, buckets, reference, host)
    bytes_each, ranks, host = work.compute.itemsize, work.ranks, {}
    gradients = trained * bytes_each // (ranks if work.zero > 1 else 1)
    optimizer, step = (4 * trained + state) // ranks, 4 * trained // ranks
    buckets = 2 * min(_BUCKET, trained) * bytes_each
    if "optimizer" in work.offload:
        host["optimizer and gradients"] = optimizer + step
        optimizer = step = 0
        gradients = gradients if work.zero == 1 else 0
    if work.zero == 3:
        share, live = weights // ranks, min(weights, _LIVE * bytes_each) if ranks > 1 or work.offload else 0
        if "parameters" in work.offload:
            host["weights"], share = share, 0
        weights, reference = share + live, reference // ranks
    return States(weights, gradients, optimizer, step, buckets, reference, host)


def _training(work: Work, states: States, kept: Kept, head: Head, written_out: int) -> Iterator[Parts]:
    """Yield what is held when the way back begins at the vocabulary, in its layers, at its end, and in the step.

    Gradients come as activations go. Where they do not stand already from the pass before, the first is the output
    head's. Copies that autocast made of the weights last from the way forward until a layer's way back; with
    checkpointing each layer makes its own anew. `written_out` are the bytes of a 4-bit layer that is multiplied with.
    """
    always = states.parts()
    activations = kept.inputs if work.checkpointing else kept.saved
    kept = replace(kept, copies=kept.copies + written_out, layer_copies=kept.layer_copies + written_out)
    standing = states.gradients if work.accumulates else 0
    yield {
        **always,
        "gradients": standing,
        "converted weights": kept.copies,
        "activations": activations,
        "vocabulary": head.work,
    }
    layer = kept.layer if work.checkpointing else kept.work
    copies = kept.layer_copies if work.checkpointing else kept.copies
    first = max(standing, head.gradient)
    yield {**always, "gradients": first, "converted weights": copies, "activations": activations + layer}
    end = {"gradients": states.gradients, "converted weights": kept.layer_copies, "activations": kept.layer}
    yield {**always, **end}
    yield {**always, "gradients": states.gradients, "step": states.step}


def _sampling(work: Work, blueprint: Blueprint, states: States) -> Parts:
    """Return what is held while completions are decoded: no gradients, and the keys and values of all of them, of one
    layer twice when rows come and go. A draw has the logits in float32, their softmax and its sums."""
    layers = blueprint.plain.config.get_text_config(decoder=True).num_hidden_layers
    cache = cache_bytes(blueprint, work.sampled, work.sampled_width, work.autocast)
    draw = work.sampled * blueprint.head.shape[0] * (work.compute.itemsize + 3 * 4)
    prefill = rehearse(blueprint, 1, _PREFILL, work.autocast).work
    return {**states.parts(), "keys and values": cache + cache // layers, "activations": prefill, "vocabulary": draw}
