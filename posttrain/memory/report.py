"""What is said of memory: one line before a model loads, a table part by part, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posttrain.memory.forecast import fits

if TYPE_CHECKING:
    from posttrain.memory.device import Device
    from posttrain.memory.forecast import Forecast
    from posttrain.memory.remedies import Remedy


def gigabytes(size: float) -> str:
    """``9.8``, in GB of 10^9 bytes, as the makers of GPUs count; two figures, since no more are known."""
    number = size / 1e9
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 0.1 else f"{number:.2f}"


def summary(found: Forecast, device: Device) -> str:
    """``memory: about 9.8 of 78.0 GB``."""
    line = f"memory: about {gigabytes(found.estimate.total)} of {gigabytes(device.free)} GB"
    if found.estimate.host:
        host = sum(found.estimate.host.values())
        line += f", and {gigabytes(host)} of {gigabytes(device.host)} GB of main memory"
    return line + ("" if fits(found.estimate, device) else ": does not fit")


def table(found: Forecast, device: Device) -> list[str]:
    """The parts of each moment, one a line."""
    work, moments = found.work, found.estimate.moments
    head = f"{found.recipe.stage} of {found.recipe.model.path}: {found.parameters:,} parameters"
    lines = [head + (f", {found.trained:,} trained" if work.rows else "")]
    if work.rows:
        kept = "checkpointed" if work.checkpointing else "kept"
        lines.append(f"a pass of {work.rows} rows of at most {work.width:,} tokens, activations {kept}")
    if work.sampled:
        lines.append(
            f"{work.sampled} completions together, of at most {work.sampled_width:,} tokens with their prompts"
        )
    if work.ranks > 1:
        lines.append(f"{work.ranks} processes, zero: {work.zero}; each has")
    parts = list(dict.fromkeys(part for moment in moments.values() for part in moment))
    lines.append(f"{'GB':20}" + "".join(f"{moment:>10}" for moment in moments))
    for part in parts:
        lines.append(f"{part:20}" + "".join(f"{_cell(moment.get(part)):>10}" for moment in moments.values()))
    lines.append(f"{'together':20}" + "".join(f"{gigabytes(sum(moment.values())):>10}" for moment in moments.values()))
    lines += [f"in main memory: {part} {gigabytes(size)}" for part, size in found.estimate.host.items()]
    return [*lines, *found.estimate.notes, f"{summary(found, device)} ({device.name})"]


def advice(cures: Sequence[Remedy]) -> list[str]:
    """What to change, the most effective first."""
    if not cures:
        return ["  nothing that could be changed here makes it fit: a smaller model, or a larger device"]
    return [
        f"  {gigabytes(cure.estimate.total):>6} GB with {cure.typed}" + ("" if cure.fits else " (not enough)")
        for cure in cures
    ]


def _cell(size: int | None) -> str:
    return gigabytes(size) if size else ""
