"""The alarms there are: what each is about, in which stages, and from which figure on it rings.

The figures are worked out in `stages/alarms.py`; here is what a recipe may name and what docs/alarms.md shows. Where a
threshold comes from stands there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

AlarmName = Literal[
    "reward",
    "entropy",
    "truncated",
    "length",
    "identical",
    "repetition",
    "equal_rewards",
    "kl",
    "logp_difference",
    "clip_ratio",
    "reward_gap",
    "grader_errors",
    "chosen",
    "loss",
    "dev_loss",
]


class Alarm(NamedTuple):
    """It rings when its figure is above the threshold, or below it where `below`. `{:.3g}` in `what` is the figure."""

    stages: tuple[str, ...]
    threshold: float
    what: str
    fix: str
    below: bool = False


_RLVR = ("rlvr",)
_LOSS = ("sft", "dpo", "kto")

ALARMS: dict[AlarmName, Alarm] = {
    "reward": Alarm(
        _RLVR,
        0.5,
        "the reward fell to {:.0%} of what it has been",
        "go back to an earlier checkpoint with a lower train.learning_rate",
        below=True,
    ),
    "entropy": Alarm(
        _RLVR,
        0.05,
        "entropy fell to {:.3g} nats a token, below half of what it was at first: samples of a problem hardly differ",
        "lower train.learning_rate, raise train.epsilon_high, or stop here if the reward is what you want",
        below=True,
    ),
    "truncated": Alarm(
        _RLVR,
        0.3,
        "{:.0%} of the completions were cut off, and graded without their end",
        "raise train.max_completion_length, ask for shorter answers, or set train.mask_truncated_completions",
    ),
    "length": Alarm(
        _RLVR,
        2.0,
        "completions are {:.3g} times as long as at first, and earn no more",
        "look at samples/: does the grader pay for length? Add the grader `length` or `repetition`, lower "
        "train.learning_rate",
    ),
    "identical": Alarm(
        _RLVR,
        0.5,
        "{:.0%} of the completions are word for word what another problem got, twice the share at first",
        "the model answers without reading: go back to an earlier checkpoint with a lower train.learning_rate",
    ),
    "repetition": Alarm(
        _RLVR,
        0.3,
        "{:.0%} of the words' 4-grams repeat what their completion has said before, twice the share at first",
        "look at samples/; go back to an earlier checkpoint with a lower train.learning_rate, or add the grader "
        "`repetition` as a gate",
    ),
    "equal_rewards": Alarm(
        _RLVR,
        0.8,
        "in {:.0%} of the groups all completions got the same reward, and the model learned nothing from them",
        "try harder problems if most are right, easier ones or SFT first if most are wrong; or more completions a "
        "problem (train.num_generations)",
    ),
    "kl": Alarm(
        _RLVR,
        0.5,
        "the model is {:.3g} nats a token from its reference",
        "raise train.beta or lower train.learning_rate",
    ),
    "logp_difference": Alarm(
        _RLVR,
        0.1,
        "the log-probabilities of engine and trainer differ by {:.3g} nats a token",
        "use model.dtype: float32 or rollout.engine: transformers",
    ),
    "clip_ratio": Alarm(
        _RLVR,
        0.1,
        "{:.0%} of the tokens were clipped, and taught nothing: steps are too large, or rows too old",
        "lower train.learning_rate, train.num_iterations or train.steps_per_generation",
    ),
    "reward_gap": Alarm(
        _RLVR,
        0.1,
        "the training reward rose and the held-out one fell since its best look: they moved {:.3g} apart",
        "the model learns the rows or the grader's gaps: read samples/, take more problems, or keep the best look by "
        "eval.best_by",
    ),
    "grader_errors": Alarm(
        _RLVR,
        0.1,
        "{:.0%} of the completions got no verdict, and are left out",
        "see to the judge or the grader; above rollout.max_grader_errors the run stops",
    ),
    "chosen": Alarm(
        ("dpo", "kto"),
        -1.0,
        "the answers to prefer become less likely: rewards/chosen is {:.3g} and falling",
        "lower train.learning_rate, raise train.beta, or add an SFT term (dpo: loss_type: [sigmoid, sft])",
        below=True,
    ),
    "loss": Alarm(
        _LOSS,
        1.5,
        "the training loss is {:.3g} times what it was at first",
        "lower train.learning_rate, or warm up for longer (train.warmup_steps)",
    ),
    "dev_loss": Alarm(
        _LOSS,
        1.1,
        "the held-out loss is {:.3g} times that of its best look, while the training loss fell",
        "stop earlier (train.num_train_epochs), or keep the best look by eval.best_by: loss",
    ),
}

assert set(ALARMS) == set(get_args(AlarmName))
