"""What to change where a run does not fit: each change is tried on the estimate, the most effective comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from posttrain.memory.forecast import fits, forecast, with_keys

if TYPE_CHECKING:
    from posttrain.memory.device import Device
    from posttrain.memory.estimate import Estimate
    from posttrain.memory.forecast import Forecast
    from posttrain.memory.work import Longest
    from posttrain.model.resolve import Parent

_HELPS = 0.98  # what a change must bring the total down to, to be worth saying
SMALLEST = {"kto": 2}  # rows: KTO estimates its KL term from a batch's other rows


@dataclass(frozen=True)
class Remedy:
    """Keys to set, as for ``--set``, and what the run takes then."""

    sets: tuple[str, ...]
    estimate: Estimate
    fits: bool

    @property
    def typed(self) -> str:
        return " ".join(f"--set {key}" for key in self.sets)


def remedies(found: Forecast, parent: Parent, longest: Longest, device: Device) -> list[Remedy]:
    """Return the changes that help, best first; `found` is the forecast of `parent` on rows of `longest`.

    Where none is enough alone the last one is several: the best at each step, until it fits.
    """

    def tried(sets: tuple[str, ...]) -> Remedy:
        recipe = with_keys(found.recipe, sets)
        limit = recipe.train.get("max_length")
        rows = replace(longest, row=min(longest.row, limit)) if limit else longest
        estimate = forecast(recipe, parent, rows, on_gpu=device.is_gpu).estimate
        return Remedy(sets, estimate, fits(estimate, device))

    alone = [] if (smaller := _smaller_batch(found, tried)) is None else [smaller]
    alone += [tried(sets) for sets in changes(found, device.is_gpu)]
    alone = [remedy for remedy in alone if remedy.fits or remedy.estimate.total < _HELPS * found.estimate.total]
    alone.sort(key=_size)
    if not alone or any(remedy.fits for remedy in alone):
        return alone
    together = alone[0]
    while not together.fits:
        kept = together.sets
        tries = [tried((*kept, *remedy.sets)) for remedy in alone[1:] if _go_together(kept, remedy.sets)]
        if _go_together(kept, batch_sets(1, 1)):
            smaller = _smaller_batch(found, tried, kept)
            tries = [one for one in tries if _go_together(one.sets, batch_sets(1, 1))] + ([smaller] if smaller else [])
        best = min(tries, key=_size, default=together)
        if best.estimate.total >= _HELPS * together.estimate.total:
            break
        together = best
    return [*alone, together] if len(together.sets) > len(alone[0].sets) else alone


def changes(found: Forecast, is_gpu: bool) -> Iterator[tuple[str, ...]]:
    """Yield what could be changed in this recipe: first what leaves the result as it is. The batch is not among it."""
    recipe, work = found.recipe, found.work
    launch = recipe.launch
    if work.rows and not work.checkpointing:
        yield ("train.gradient_checkpointing=true",)
    if work.rows and work.ranks > 1:
        yield from ((f"launch.zero={stage}",) for stage in (2, 3) if stage > launch.zero)
    if work.rows and is_gpu and "optimizer" not in launch.offload:
        yield (f"launch.zero={max(launch.zero, 2)}", "launch.offload=[optimizer]")
    if work.rows and is_gpu and "parameters" not in launch.offload:
        yield ("launch.zero=3", "launch.offload=[optimizer,parameters]")
    if work.sampled > 1:
        yield (f"rollout.batch_size={max(work.sampled // 4, 1)}",)
    if work.rows and recipe.model.lora is None:
        yield ("model.lora={}",)
    if work.rows and is_gpu and not recipe.model.load_in_4bit and launch.zero == 0:
        yield ("model.lora={}", "model.load_in_4bit=true", "model.save=adapter")
    if work.rows and recipe.stage != "rlvr" and work.width >= 256:
        yield (f"train.max_length={work.width // 2}",)
    if recipe.stage == "rlvr" and work.width >= 256:
        from posttrain.stages.arguments import train_settings

        yield (f"train.max_completion_length={train_settings(recipe)['max_completion_length'] // 2}",)


def _smaller_batch(
    found: Forecast, tried: Callable[[tuple[str, ...]], Remedy], beside: tuple[str, ...] = ()
) -> Remedy | None:
    """Return the largest smaller micro-batch that fits `beside` other changes, else the smallest, with the accumulation
    that keeps the rows of a step."""
    from posttrain.stages.arguments import train_settings

    recipe, remedy = found.recipe, None  # of those tried, the last
    if not found.work.rows:
        return None
    settings = train_settings(recipe)
    each, rounds = settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]
    for smaller in reversed(divisors(each * rounds)):
        if SMALLEST.get(recipe.stage, 1) <= smaller <= each // 2:
            remedy = tried((*beside, *batch_sets(smaller, each * rounds // smaller)))
            if remedy.fits:
                break
    return remedy


def batch_sets(rows: int, rounds: int) -> tuple[str, ...]:
    """Return the keys to set for micro-batches of so many rows, so many a step."""
    return f"train.per_device_train_batch_size={rows}", f"train.gradient_accumulation_steps={rounds}"


def divisors(number: int) -> list[int]:
    """Return the numbers that divide `number`, the smallest first."""
    return [each for each in range(1, number + 1) if number % each == 0]


def _go_together(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two changes set different keys, and not ZeRO on one side and 4-bit weights on the other."""
    ours, theirs = ({key.partition("=")[0] for key in sets} for sets in (one, other))
    four_bit, zero = "model.load_in_4bit", "launch.zero"
    return not ours & theirs and not ((four_bit in ours and zero in theirs) or (zero in ours and four_bit in theirs))


def _size(remedy: Remedy) -> int:
    return remedy.estimate.total
