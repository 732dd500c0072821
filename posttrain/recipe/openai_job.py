"""What a fine-tuning job of OpenAI's, or Azure's, may say: the request that starts one, or the record of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from posttrain.graders import AnyGrader

Auto = Literal["auto"]


class Strict(BaseModel):
    """A part of a job, in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(Strict):
    """Of supervised fine-tuning; each may be "auto"."""

    n_epochs: Annotated[int, Field(ge=1, le=50)] | Auto | None = None
    batch_size: Annotated[int, Field(ge=1, le=256)] | Auto | None = None
    learning_rate_multiplier: Annotated[float, Field(gt=0)] | Auto | None = None


class DpoHyperparameters(Hyperparameters):
    """Of preference fine-tuning."""

    beta: Annotated[float, Field(gt=0, le=2)] | Auto | None = None


class ReinforcementHyperparameters(Hyperparameters):
    """Of reinforcement fine-tuning."""

    compute_multiplier: Annotated[float, Field(gt=0)] | Auto | None = None
    eval_interval: Annotated[int, Field(ge=1)] | Auto | None = None
    eval_samples: Annotated[int, Field(ge=1)] | Auto | None = None
    reasoning_effort: Literal["default", "minimal", "low", "medium", "high"] | None = None


class Supervised(Strict):
    """The method `supervised`."""

    hyperparameters: Hyperparameters | None = None


class Dpo(Strict):
    """The method `dpo`."""

    hyperparameters: DpoHyperparameters | None = None


class Reinforcement(Strict):
    """The method `reinforcement`. `tools` and `max_episode_steps` are Azure's."""

    grader: AnyGrader = Field(description="How a completion is judged.")
    hyperparameters: ReinforcementHyperparameters | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    max_episode_steps: int | None = None


class Method(Strict):
    """How is trained, and with what settings."""

    type: Literal["supervised", "dpo", "reinforcement"] = Field(description="supervised, dpo or reinforcement.")
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None

    @model_validator(mode="after")
    def _has_its_grader(self) -> Method:
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("reinforcement is missing: it holds the grader")
        return self


class Job(Strict):
    """A fine-tuning job."""

    model: str = Field(description="The model that was trained.")
    training_file: str = Field(description="The training rows: a file, or an id at OpenAI.")
    validation_file: str | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2147483647)] | None = None
    method: Method | None = Field(None, description="Absent: supervised, with the older top-level hyperparameters.")
    hyperparameters: Hyperparameters | None = None
    integrations: list[Any] | None = None
    metadata: dict[str, Any] | None = None
    # Azure's: where the job runs.
    trainingType: Any = None
    # The record of a job: what became of it, which is no setting.
    id: Any = None
    object: Any = None
    created_at: Any = None
    error: Any = None
    estimated_finish: Any = None
    eval_id: Any = None
    fine_tuned_model: Any = None
    finished_at: Any = None
    organization_id: Any = None
    result_files: Any = None
    shared_with_openai: Any = None
    status: Any = None
    trained_tokens: Any = None
    usage_metrics: Any = None
    user_provided_suffix: str | None = None
