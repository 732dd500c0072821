"""Which curves are drawn of a stage, what they are called, and what to look for in them."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any, NamedTuple


class Panel(NamedTuple):
    """A picture: the metrics in it, by name or pattern. `share`: they go from 0 to 1 and are shown in percent; `pair`:
    training and held-out rows stand side by side on one scale, else in one picture."""

    title: str
    metrics: tuple[str, ...]
    says: str
    share: bool = False
    pair: bool = False


_LOSS = Panel("Loss", ("loss",), "Held-out loss that rises while training loss falls: learned by heart.", pair=True)
_PASS = Panel(
    "Problems solved", ("pass@*",), "pass@1: the chance that one sample is right; pass@k: that one of k is.", True, True
)
_AGREED = Panel("Agreement", ("maj@*", "pass^*"), "maj@k: the most frequent answer is right; pass^k: all k are.", True)
_REWARD = Panel(
    "Reward", ("reward",), "What the graders pay. Training that leaves held-out behind: look at samples.", pair=True
)
_ENTROPY = Panel("Entropy", ("entropy",), "Nats a token. Near 0 the model has stopped trying anything else.")
_ACCURACY = Panel("Token accuracy", ("mean_token_accuracy",), "How often the likeliest token is the right one.", True)
_LENGTH = Panel(
    "Length",
    ("completions/mean_length", "completions/max_length"),
    "Tokens a completion. Longer without more reward: does the grader pay for length?",
)
_CUT = Panel("Cut off", ("completions/clipped_ratio",), "Share of completions that reached the limit of tokens.", True)
_KL = Panel("KL", ("kl",), "Distance from the reference, in nats.")
_LOGPS = Panel(
    "Log-probabilities",
    ("logps/chosen", "logps/rejected"),
    "Nats an answer. Both fall a little; chosen that falls far is forgotten.",
    pair=True,
)
_MARGIN = Panel(
    "Margin", ("rewards/margins",), "Implicit reward of chosen less rejected: what the loss widens.", pair=True
)
_REWARDS = Panel(
    "Chosen and rejected", ("rewards/chosen", "rewards/rejected"), "Implicit rewards: against the reference."
)
_LOOK = (_PASS, _REWARD, _AGREED, Panel("Graders' scores", ("score/*", "parts_passed"), "Means over problems."))
_WORK = (
    Panel("Gradient norm", ("grad_norm",), "Before clipping."),
    Panel("Learning rate", ("learning_rate",), "As scheduled."),
    Panel("Step time", ("step_time",), "Seconds a step."),
    Panel("Skipped steps", ("skipped_steps",), "Steps that were left out since their loss was no number."),
)

PANELS: dict[str, tuple[Panel, ...]] = {
    "sft": (_LOSS, *_LOOK, _ACCURACY, _ENTROPY, _LENGTH, _CUT, *_WORK),
    "dpo": (
        _LOSS,
        _MARGIN,
        Panel("Pairs told apart", ("rewards/accuracies",), "Chosen has the higher implicit reward.", True, True),
        _LOGPS,
        _REWARDS,
        *_LOOK,
        _ACCURACY,
        _ENTROPY,
        _LENGTH,
        _CUT,
        *_WORK,
    ),
    "kto": (_LOSS, _MARGIN, _LOGPS, _REWARDS, _KL, *_LOOK, _ENTROPY, _LENGTH, _CUT, *_WORK),
    "rlvr": (
        _REWARD,
        _PASS,
        _AGREED,
        Panel(
            "Parts of the reward",
            ("score/*", "rewards/*/mean", "parts_passed"),
            "Each grader's own score, before weights.",
        ),
        Panel(
            "Groups that teach nothing",
            ("rollout/equal_rewards", "frac_reward_zero_std"),
            "All samples of a problem got the same reward: no advantage, no gradient.",
            True,
        ),
        _LENGTH,
        _CUT,
        _ENTROPY,
        _KL,
        Panel("Clipped tokens", ("clip_ratio/region_mean",), "Share whose ratio to the old policy was clipped.", True),
        Panel(
            "Engine against trainer",
            ("sampling/sampling_logp_difference/mean",),
            "Nats a token that what sampled and what learns differ by.",
        ),
        Panel("Grader errors", ("grader_errors",), "Completions without a verdict; they are left out, not scored 0."),
        _LOSS,
        *_WORK,
    ),
}


def panels_of(stage: str, names: Collection[str]) -> list[dict[str, Any]]:
    """Return the stage's panels with the metrics among `names` that each has; those without any are left out. Metrics
    that no panel has come at the end, one picture each, marked ``"other"``."""
    found = []
    for panel in PANELS[stage]:
        metrics = [name for pattern in panel.metrics for name in names if fnmatchcase(name, pattern)]
        if metrics and metrics != ["rewards/graded/mean"]:  # the reward itself
            found.append({**panel._asdict(), "metrics": metrics, "other": False})
    drawn = {name for panel in found for name in panel["metrics"]}
    rest = [name for name in names if name not in drawn and name not in ("seconds", "num_tokens")]
    others = [Panel(name, (name,), "")._asdict() | {"metrics": [name], "other": True} for name in sorted(rest)]
    return found + others
