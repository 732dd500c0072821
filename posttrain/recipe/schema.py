"""What a recipe may say. Unknown keys are errors everywhere; `train:` is held against TRL's own key names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from posttrain.errors import did_you_mean
from posttrain.graders import AnyGrader
from posttrain.recipe.alarms import ALARMS, AlarmName
from posttrain.visible import on_one_line

Stage = Literal["sft", "dpo", "kto", "rlvr", "eval"]


class Section(BaseModel):
    """A strict, read-only part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Lora(Section):
    """Low-rank adapters (peft's LoraConfig, by its names where they are plain)."""

    r: int = Field(default=16, ge=1, description="Rank of the update.")
    alpha: float = Field(default=32, gt=0, description="Scale: the update is multiplied by alpha / r.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: str | list[str] = Field(
        default="all-linear",
        description="Module names, a regular expression, or 'all-linear' (all but the output head).",
    )
    dora: bool = Field(default=False, description="Weight-decomposed LoRA (DoRA, arXiv 2402.09353).")
    rslora: bool = Field(default=False, description="Rank-stabilised scale alpha / sqrt(r) (rsLoRA, arXiv 2312.03732).")


class Model(Section):
    """The model to start from, and how it is loaded and saved."""

    path: str = Field(
        default="builtin:tiny",
        description="A hub id, a directory (model, run or adapter), a .gguf file, or builtin:tiny.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub model.")
    trust_remote_code: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{40}([0-9a-f]{24})?$",
        description="Run the code that the model brings, of this commit (hub), or with this digest (directory: the "
        "message that refuses it says which). Absent: no code of a model is run.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 where the hardware is fast at it, else float32."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] = Field(
        default="auto",
        description="Attention implementation; auto is transformers' choice, in training without padding where it can.",
    )
    chat_template: str | None = Field(
        default=None,
        description="A Jinja file to use in place of the model's own chat template, relative to the recipe.",
    )
    lora: Lora | None = Field(default=None, description="Train adapters; absent: full fine-tuning.")
    load_in_4bit: bool = Field(
        default=False, description="QLoRA: the frozen weights in 4-bit NF4. Needs lora and a GPU."
    )
    save: Literal["merged", "adapter"] = Field(
        default="merged", description="What final/ holds after LoRA: the merged model, or the adapter alone."
    )

    @model_validator(mode="after")
    def _lora_goes_with(self) -> Model:
        if self.load_in_4bit and self.lora is None:
            raise ValueError("load_in_4bit trains adapters on frozen weights: add `lora: {}` beside it")
        if self.load_in_4bit and self.save == "merged":
            raise ValueError("a 4-bit base cannot be merged without loss: add `save: adapter` beside load_in_4bit")
        if self.save == "adapter" and self.lora is None:
            raise ValueError("save: adapter needs `lora: {}` beside it; without adapters the whole model is saved")
        return self


class Source(Section):
    """One source of rows."""

    path: str = Field(
        description="A file (.jsonl, .json, .csv, .tsv, .parquet; .gz too), a glob, a URL of either (s3://, gs://, "
        "hf://, https:// …), or a hub data set id."
    )
    subset: str | None = Field(default=None, description="The hub data set's configuration name.")
    split: str = Field(default="train", description="The hub data set's split.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub data set.")
    format: str = Field(default="auto", description="auto, or the name of a row format (docs/data.md lists them).")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our name: the row's column, e.g. {prompt: question, answer: solution}.",
    )
    limit: int | None = Field(default=None, ge=1, description="At most this many rows, taken after shuffling.")
    weight: float | None = Field(
        default=None,
        gt=0,
        description="Sample this fraction of the rows (0.5: half; 2: each twice), after shuffling.",
    )

    share: float | None = Field(
        default=None,
        gt=0,
        description="This source's part of the training rows, of the sum of all shares; every training source has one.",
    )

    @model_validator(mode="after")
    def _one_size(self) -> Source:
        if self.limit is not None and self.weight is not None:
            raise ValueError("give limit or weight, not both")
        if self.share is not None and self.weight is not None:
            raise ValueError("give share (of the result) or weight (of the source's rows), not both")
        return self


class Mix(Section):
    """How the training sources are mixed: by each one's `share`, else by size at a temperature."""

    rows: int | None = Field(
        default=None,
        ge=1,
        description="So many training rows; absent: as many as can be had without taking one twice.",
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="A source of n rows (at most its limit) has a share in proportion to n^(1/temperature). 1: as "
        "large as it is; a large one: all the same.",
    )
    repeat: bool = Field(default=False, description="A source with too few rows gives them several times.")


class Fraction(Section):
    """A held-out share of the training rows."""

    fraction: float = Field(gt=0, lt=1, description="This share of the rows is held out.")
    by: str | None = Field(
        default=None,
        description="A column, such as user or conversation: rows that share its value, or a prompt, are all on one "
        "side; absent: the prompt alone.",
    )


class SystemPrompt(Section):
    """A system prompt that may replace the rows' own."""

    text: str = Field(description="The system prompt.")
    replace: bool = Field(
        default=False, description="Also in place of a row's own system turn; with an empty text, it is taken away."
    )

    @model_validator(mode="after")
    def _says_something(self) -> SystemPrompt:
        if not self.text.strip() and not self.replace:
            raise ValueError("an empty system prompt changes nothing: write a text, or `replace: true`")
        return self


class Data(Section):
    """The rows: what is trained on, what is looked at while training, what is scored only when asked."""

    train: list[Source] = Field(default_factory=list, max_length=100, description="Sources of the training rows.")
    mix: Mix | None = Field(default=None, description="How they are mixed; absent: by share, or one after the other.")
    dev: Fraction | Annotated[list[Source], Field(max_length=100)] | None = Field(
        default=None,
        description="Held-out rows looked at while training: {fraction: 0.05} of train, or sources.",
    )
    unseen: list[Source] = Field(
        default_factory=list, max_length=100, description="Held-out rows scored only by `eval --unseen`."
    )
    problems: list[Source] = Field(
        default_factory=list,
        max_length=100,
        description="Held-out problems, as rlvr and eval have them under dev, that sft, dpo and kto sample and grade "
        "at each look.",
    )
    system: str | SystemPrompt | None = Field(
        default=None,
        description="System prompt for the rows that have none; {text: ..., replace: true}: for all rows.",
    )
    trained_turns: Literal["all", "last"] = Field(
        default="all", description="sft: train every assistant turn, or only the last one of each conversation."
    )
    thinking: Literal["as_template", "strip", "keep"] = Field(
        default="as_template",
        description="Thoughts (reasoning_content, or <think> before the answer). as_template: as the chat template "
        "writes them, which is mostly in the last turn alone; strip: none, and the template is told not to think; "
        "keep: none is lost: an sft row with thoughts before its last turn becomes a row for each trained turn.",
    )
    streaming: bool = Field(
        default=False,
        description="Read the training rows while training on them, for sets larger than the disk; sft only, and "
        "train.max_steps says how long.",
    )
    bad_rows: Literal["error", "skip"] = Field(
        default="error", description="Rows that cannot be read: an error that names the first, or skipped and counted."
    )
    too_long: Literal["keep_start", "keep_end", "drop", "split"] = Field(
        default="keep_start",
        description="What becomes of rows of sft, dpo and kto longer than train.max_length: cut to their start or end, "
        "left out, or (sft) split into several.",
    )

    @model_validator(mode="after")
    def _one_mixture(self) -> Data:
        held_out = [*(self.dev if isinstance(self.dev, list) else []), *self.unseen, *self.problems]
        if any(source.share is not None for source in held_out):
            raise ValueError("share is for training sources alone")
        shares = [source.share for source in self.train if source.share is not None]
        if shares and len(shares) < len(self.train):
            raise ValueError("give every source of train a share, or none")
        if self.mix and shares and self.mix.temperature is not None:
            raise ValueError("give the sources a share or the mix a temperature, not both")
        if self.mix and not shares and self.mix.temperature is None:
            raise ValueError("say how to mix: a share on every source of train, or mix.temperature")
        if self.mix and any(source.weight is not None for source in self.train):
            raise ValueError("weight is for sources that are not mixed; use share, or limit")
        return self


class Retire(Section):
    """Problems that the model always or never solves rest for a while, and others are drawn in their place."""

    looks: int = Field(
        default=2,
        ge=1,
        description="Looks at a problem, one after the other, in which all completions passed, or none.",
    )
    steps: int = Field(
        default=20, ge=1, description="Steps that it then rests; twice as many after each further look of the kind."
    )


class Rollout(Section):
    """How completions are sampled for held-out problems; for training, TRL's sampling keys are in train."""

    engine: Literal["auto", "transformers", "vllm", "vllm-server"] = Field(
        default="auto",
        description="What samples: transformers; vllm, in the same process, in rlvr beside the trainer; in rlvr a "
        "vllm-server at `url`. auto takes transformers.",
    )
    url: str | None = Field(
        default=None, description="Where the vllm-server is, such as http://127.0.0.1:8000 (without /v1)."
    )
    gpu_memory: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="rlvr with vllm: the share of a GPU's memory that vLLM takes while it samples.",
    )
    batch_size: int = Field(default=128, ge=1, description="Completions decoded together.")
    temperature: float = Field(default=1.0, ge=0, description="0: greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling; 1: all tokens.")
    max_new_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Longest completion; absent: RLVR's max_completion_length, 512 in eval.",
    )
    stop: list[str] = Field(
        default_factory=list, description="Texts that end a completion, beside the model's own end of turn."
    )
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Problems with a longer prompt are left out, and counted; absent: no limit.",
    )
    max_grader_errors: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Largest share of completions that may be left without a verdict (a judge is down, a grader "
        "failed) before a run or a look stops.",
    )
    dynamic_sampling: bool = Field(
        default=False,
        description="rlvr: draw other problems in place of those whose completions all get the same reward.",
    )
    max_refills: int = Field(
        default=2, ge=1, description="With dynamic_sampling: how often a step draws again for what is missing."
    )
    retire: Retire | None = Field(
        default=None,
        description="rlvr: let problems rest that are always or never solved (`retire: {}`); absent: all are drawn "
        "alike.",
    )


class Bar(Section):
    """What a figure must reach, so that `eval` ends with exit code 0; without it, with 3."""

    at_least: float | None = Field(default=None, description="The figure itself, as a share: 0.6 is 60%.")
    gain_above: float | None = Field(
        default=None,
        description="The low end of the 95% interval of the difference to the baseline; 0: surely better.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Bar:
        if self.at_least is None and self.gain_above is None:
            raise ValueError("say at_least, gain_above or both")
        return self


class PromptVariant(Section):
    """Another way to ask the same problems: prompting is the first thing to try."""

    name: str = Field(min_length=1, description="Its name in the table.")
    system: str | None = Field(default=None, description="The system prompt, in place of the problem's own.")
    template: str = Field(default="{prompt}", description="The last user turn; {prompt} stands for the problem's own.")
    shots: list[Source] = Field(
        default_factory=list,
        description="Conversations to show before the problem, as rows for sft; `limit: 4` takes four.",
    )

    @model_validator(mode="after")
    def _asks(self) -> PromptVariant:
        if "{prompt}" not in self.template:
            raise ValueError("the template leaves the problem out: write {prompt} where it belongs")
        return self


class Signal(Section):
    """What rlvr samples of its training problems before the first step, to see whether there is anything to learn;
    `posttrain signal` looks at all of them."""

    problems: int = Field(default=16, ge=0, description="Training problems to sample; 0: start without looking.")


class Eval(Section):
    """The look at held-out rows."""

    every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between looks while training; absent: about ten looks, beside step 0 and the end.",
    )
    samples: int = Field(default=8, ge=1, description="Completions a problem.")
    k: list[Annotated[int, Field(ge=1)]] = Field(
        default=[1, 8], min_length=1, max_length=100, description="The k of pass@k."
    )
    limit: int | None = Field(default=None, ge=1, description="At most this many held-out problems, taken in order.")
    best_by: str | None = Field(
        default=None,
        description="Keep as final/ the checkpoint best by this held-out metric (loss, reward, pass@1 …).",
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop training after this many looks without a better best_by."
    )
    group_by: str | None = Field(
        default=None,
        description="A field of the problems, such as a passage or a customer: problems that share its value are not "
        "independent, and standard errors are clustered by it.",
    )
    prompts: list[PromptVariant] = Field(
        default_factory=list, description="Ways to ask, each a line of the table for every model; eval only."
    )
    require: dict[str, Bar] = Field(
        default_factory=dict,
        description="What each model but the baseline must reach, by figure (pass@1 …); eval only.",
    )

    @model_validator(mode="after")
    def _enough_samples(self) -> Eval:
        if max(self.k) > self.samples:
            raise ValueError(
                f"pass@{max(self.k)} needs at least {max(self.k)} samples a problem, not {self.samples}: "
                "change samples or k"
            )
        if self.patience is not None and self.best_by is None:
            raise ValueError("patience counts looks without a better best_by: say which metric that is")
        names = [variant.name for variant in self.prompts]
        if len(set(names)) < len(names):
            raise ValueError("two prompts have one name")
        return self


class Alarms(Section):
    """What warns of a run that goes wrong, or stops it (docs/alarms.md lists the alarms)."""

    nonfinite: Literal["stop", "skip"] = Field(
        default="stop",
        description="A step whose loss or gradient norm is NaN or infinite. Its update is never made; stop: the run "
        "ends; skip: it goes on with the next step.",
    )
    max_skipped: int = Field(default=5, ge=1, description="With skip: the run ends after so many such steps in a row.")
    thresholds: dict[AlarmName, FiniteFloat] = Field(
        default_factory=dict, description="Other thresholds, by alarm: {truncated: 0.5}."
    )
    silent: list[AlarmName] = Field(default_factory=list, description="Alarms that do not ring.")
    stop: list[AlarmName] = Field(
        default_factory=list, description="Alarms that stop the run when they ring, with a checkpoint and exit code 3."
    )

    @model_validator(mode="after")
    def _heard_or_not(self) -> Alarms:
        if both := sorted({*self.stop, *self.thresholds} & set(self.silent)):
            raise ValueError(f"{both[0]} is silent: leave it out of the other lists")
        return self


class Launch(Section):
    """Where it runs. ZeRO and offload are DeepSpeed's; zero 0 with several processes is PyTorch's data parallelism."""

    processes: int | Literal["auto"] = Field(
        default="auto", description="Processes on each machine; auto: one for each GPU, else one."
    )
    zero: Literal[0, 1, 2, 3] = Field(
        default=0, description="ZeRO stage: 1 shards the optimizer, 2 the gradients too, 3 the weights too."
    )
    offload: list[Literal["optimizer", "parameters"]] = Field(
        default_factory=list,
        description="Kept in main memory: optimizer (zero 1 and up), parameters (zero 3).",
    )
    hostfile: str | None = Field(
        default=None, description="DeepSpeed hostfile (`host slots=8` a line): run on all of them."
    )
    on_out_of_memory: Literal["stop", "smaller"] = Field(
        default="stop",
        description="smaller: go on from the last checkpoint with half the micro-batch and twice the accumulation.",
    )

    @model_validator(mode="after")
    def _offload_needs_zero(self) -> Launch:
        if isinstance(self.processes, int) and self.processes < 1:
            raise ValueError("processes must be at least 1")
        if "optimizer" in self.offload and self.zero == 0:
            raise ValueError("offload: [optimizer] needs zero: 1, 2 or 3")
        if "parameters" in self.offload and self.zero != 3:
            raise ValueError("offload: [parameters] needs zero: 3")
        return self


class Recipe(Section):
    """One stage's recipe, as one YAML file."""

    stage: Stage = Field(description="sft, dpo, kto, rlvr or eval; must match the command.")
    out: str | None = Field(default=None, description="The run directory, relative to where the command runs.")
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of shuffling, splits, dropout and sampling.")
    model: Model = Field(default_factory=Model, description="The model to start from.")
    data: Data = Field(description="The rows: what is trained on, and what is held out.")
    train: dict[str, Any] = Field(default_factory=dict, description="TRL's config keys, by TRL's names.")
    graders: list[AnyGrader] = Field(default_factory=list, max_length=50, description="How a completion is judged.")
    rollout: Rollout = Field(default_factory=Rollout, description="How completions are sampled.")
    eval: Eval = Field(default_factory=Eval, description="The look at held-out rows.")
    signal: Signal = Field(default_factory=Signal, description="The look before rlvr starts.")
    alarms: Alarms = Field(default_factory=Alarms, description="What warns of a run that goes wrong, or stops it.")
    launch: Launch = Field(default_factory=Launch, description="Where it runs.")

    @field_validator("out")
    @classmethod
    def _can_be_printed(cls, out: str | None) -> str | None:
        if out is not None and (not out.strip() or on_one_line(out) != out):
            raise ValueError("a directory's name on one line, without characters that cannot be seen")
        if out is not None and (len(out) > 3000 or max(len(part.encode()) for part in out.split("/")) > 255):
            raise ValueError("longer than a directory's name can be")
        return out

    @model_validator(mode="after")
    def _sections_fit_the_stage(self) -> Recipe:
        wrong = misfits({name: getattr(self, name) for name in type(self).model_fields})
        if wrong:
            raise ValueError("; ".join(message for _, message in wrong))
        return self


def misfits(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, message) for every section that does not go with the stage.

    `parts` are the valid sections of a recipe; rules about a section that is not among them are left out.
    """
    stage = parts.get("stage")
    wrong: list[tuple[str, str]] = []
    if stage is None:
        return wrong
    if stage != "eval" and "out" in parts and parts["out"] is None:
        wrong.append(("out", f"missing: name the run directory, e.g. `out: runs/{stage}`"))
    if stage != "eval" and "data" in parts and not parts["data"].train:
        wrong.append(("data.train", "missing: list at least one source, e.g. `train: [{path: rows.jsonl}]`"))
    if stage == "eval" and "data" in parts and not isinstance(parts["data"].dev, list) and not parts["data"].unseen:
        wrong.append(("data.dev", "missing: eval needs problems; list sources under data.dev or data.unseen"))
    if stage in ("rlvr", "eval") and "graders" in parts and not parts["graders"]:
        wrong.append(("graders", "missing: say how a completion is judged, e.g. `graders: [{type: number}]`"))
    if stage != "sft" and "data" in parts and parts["data"].too_long == "split":
        wrong.append(("data.too_long", f"rows of {stage} cannot be split: an answer belongs to its whole prompt"))
    elif stage in ("rlvr", "eval") and "data" in parts and parts["data"].too_long != "keep_start":
        wrong.append(("data.too_long", "prompts that are too long are left out by rollout.max_prompt_tokens"))
    wrong += _misfits_of_alarms(stage, parts)
    wrong += _misfits_of_looks(stage, parts)
    wrong += _misfits_of_vllm(stage, parts)
    wrong += _misfits_of_choosing(stage, parts)
    wrong += _misfits_of_streaming(stage, parts)
    if "eval" in parts and "data" in parts and (best_by := parts["eval"].best_by):
        held_out = held_out_metrics(stage, parts["eval"], with_problems=bool(parts["data"].problems))
        sampled = best_by in held_out_metrics("rlvr", parts["eval"])
        if best_by not in held_out:
            hint = ": that needs data.problems and graders" if sampled else f".{did_you_mean(best_by, held_out)}"
            wrong.append(("eval.best_by", f"{stage} has no held-out metric {best_by!r}{hint}"))
        elif parts["data"].dev is None and not (sampled and parts["data"].problems):
            wrong.append(("eval.best_by", "needs held-out rows to compare checkpoints by: add data.dev"))
    return wrong


def _misfits_of_alarms(stage: str, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, message) for alarms that another stage has."""
    if "alarms" not in parts:
        return []
    alarms: Alarms = parts["alarms"]
    if stage == "eval" and alarms != Alarms():
        return [("alarms", "nothing is trained in eval: leave it out")]
    named = {"thresholds": alarms.thresholds, "silent": alarms.silent, "stop": alarms.stop}
    return [
        (f"alarms.{key}", f"{stage} has no alarm {name!r}; it is one of {', '.join(ALARMS[name].stages)}")
        for key, names in named.items()
        for name in names
        if stage not in ALARMS[name].stages
    ]


def _misfits_of_looks(stage: str, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, message) for what a look at held-out problems lacks, or another stage has no use for."""
    wrong: list[tuple[str, str]] = []
    problems = "data" in parts and bool(parts["data"].problems)
    if stage in ("sft", "dpo", "kto") and {"graders", "data"} <= parts.keys():
        if parts["graders"] and not problems:
            wrong.append(("graders", f"{stage} grades held-out problems only: list them under data.problems"))
        if problems and not parts["graders"]:
            wrong.append(("data.problems", "add graders: they say how a completion is judged"))
    if stage in ("rlvr", "eval") and problems:
        wrong.append(("data.problems", f"the held-out problems of {stage} are data.dev"))
    if "eval" in parts and stage != "eval":
        for key in ("prompts", "require"):
            if getattr(parts["eval"], key):
                wrong.append((f"eval.{key}", f"belongs in an eval recipe, not in one for {stage}"))
    for figure in parts["eval"].require if "eval" in parts else ():
        known = [
            f"{name}{k}" for name in ("pass@", "pass^", "maj@") for k in parts["eval"].k if k > 1 or name == "pass@"
        ]
        if figure not in (*known, "reward", "parts_passed") and not figure.startswith("score/"):
            hint = did_you_mean(figure, [*known, "reward", "parts_passed"])
            wrong.append((f"eval.require.{figure}", f"there is no figure {figure!r}.{hint}"))
        most = max(
            bound or 0 for bound in (parts["eval"].require[figure].at_least, parts["eval"].require[figure].gain_above)
        )
        if most > 1 and figure.startswith(("pass", "maj", "parts")):
            wrong.append((f"eval.require.{figure}", f"{most:g}: shares are from 0 to 1; 60% is 0.6"))
    if {"eval", "rollout"} <= parts.keys() and parts["rollout"].temperature == 0 and parts["eval"].samples > 1:
        wrong.append(("eval.samples", "greedy sampling gives the same completion each time: set samples: 1 and k: [1]"))
    return wrong


def _misfits_of_choosing(stage: str, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, message) for problems chosen by their rewards where there are none to choose."""
    if "rollout" not in parts:
        return []
    rollout = parts["rollout"]
    wrong = []
    if stage != "rlvr":
        for key in ("dynamic_sampling", "retire"):
            if getattr(rollout, key):
                wrong.append((f"rollout.{key}", f"chooses the problems that rlvr trains on; {stage} has no use for it"))
    if rollout.max_refills != Rollout.model_fields["max_refills"].default and not rollout.dynamic_sampling:
        wrong.append(("rollout.max_refills", "bounds dynamic sampling: set rollout.dynamic_sampling, or leave it out"))
    return wrong


def _misfits_of_streaming(stage: str, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, message) for what cannot be had of rows that are not all there before training."""
    if "data" not in parts or not parts["data"].streaming:
        return []
    data, train = parts["data"], parts.get("train", {})
    wrong: list[tuple[str, str]] = []
    if stage != "sft":
        wrong.append(("data.streaming", f"{stage} goes over all of its rows; only sft streams them"))
    if "train" in parts and "max_steps" not in train:
        wrong.append(("data.streaming", "nobody knows how many rows there are: set train.max_steps"))
    if train.get("packing"):
        wrong.append(("train.packing", "packs are made of all rows: leave packing or data.streaming out"))
    if train.get("train_sampling_strategy", "random") != "random":
        wrong.append(("train.train_sampling_strategy", "rows that stream past cannot be put in order: leave it out"))
    if isinstance(data.dev, Fraction):
        wrong.append(("data.dev", "a fraction is held out of all rows: list sources of held-out rows instead"))
    for index, source in enumerate(data.train):
        if source.limit is not None or source.weight is not None or source.share is not None:
            wrong.append((f"data.train[{index}]", "limit, weight and share draw from all rows, which are not there"))
    if data.mix is not None:
        wrong.append(("data.mix", "a mixture counts all rows; streamed sources are mixed evenly"))
    return wrong


def _misfits_of_vllm(stage: str, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, message) for what does not go with `rollout.engine: vllm` or `vllm-server`."""
    if "rollout" not in parts:
        return []
    wrong: list[tuple[str, str]] = []
    rollout, server = parts["rollout"], parts["rollout"].engine == "vllm-server"
    gpu_memory = Rollout.model_fields["gpu_memory"].default
    if rollout.gpu_memory != gpu_memory and (stage, rollout.engine) != ("rlvr", "vllm"):
        wrong.append(("rollout.gpu_memory", "is what `rollout.engine: vllm` takes in rlvr: leave it out"))
    if server and not rollout.url:
        wrong.append(("rollout.url", "missing: say where the server is, e.g. `url: http://127.0.0.1:8000`"))
    elif rollout.url and not server:
        wrong.append(("rollout.url", "is where `rollout.engine: vllm-server` is: leave one out, or add the other"))
    elif rollout.url and not re.fullmatch(r"https?://[^/?#@]+", rollout.url.rstrip("/")):
        wrong.append(("rollout.url", "write it as http://127.0.0.1:8000, without a path"))
    if rollout.engine not in ("vllm", "vllm-server"):
        return wrong
    stages = ("rlvr",) if server else ("eval", "rlvr")
    if stage not in stages:
        message = f"{rollout.engine} samples in {' and '.join(stages)}: in {stage} leave it out (transformers)"
        wrong.append(("rollout.engine", message))
    if 0 < rollout.temperature < 0.01:
        wrong.append(("rollout.temperature", "vllm takes 0 (greedy), or 0.01 and more"))
    if stage == "eval" and "model" in parts and parts["model"].attention != "auto":
        wrong.append(("model.attention", "vllm chooses its attention itself: leave it out"))
    if "model" in parts and parts["model"].load_in_4bit:
        wrong.append(("model.load_in_4bit", "is not for vllm: use `rollout.engine: transformers`"))
    return wrong


def held_out_metrics(stage: str, look: Eval, *, with_problems: bool = False) -> tuple[str, ...]:
    """Return the metrics that a stage's checkpoints can be compared by; all but ``loss`` are better when higher."""
    sampled = ("reward", *(f"pass@{k}" for k in look.k))
    return {
        "sft": ("loss", "mean_token_accuracy"),
        "dpo": ("loss", "rewards/accuracies", "rewards/margins"),
        "kto": ("loss", "rewards/margins"),
        "rlvr": sampled,
        "eval": (),
    }[stage] + (sampled if with_problems else ())
