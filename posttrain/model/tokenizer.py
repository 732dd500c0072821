"""The tokenizer of a model: its chat template, its padding token, the tokens that end a turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.data.template import end_of_turn_id
from posttrain.errors import UserError
from posttrain.model.gguf import mend_tokenizer
from posttrain.model.reading import reading
from posttrain.model.resolve import Parent
from posttrain.recipe.schema import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What models that have a padding token apart call it; then tokens that no chat ever holds.
_PAD_TOKENS = (
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<|padding|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_0|>",
    "<|endoftext|>",
    "<|end_of_text|>",
)


def load_tokenizer(parent: Parent, settings: Model) -> PreTrainedTokenizerBase:
    """Return the parent's tokenizer with a chat template and with a padding token that ends no turn, where
    its vocabulary has one.

    The template is the file ``settings.chat_template``, else the model's own. Raises UserError when there is
    neither, and when the template cannot render a chat.
    """
    from transformers import AutoTokenizer

    with reading(parent):
        tokenizer = AutoTokenizer.from_pretrained(**_source(parent), trust_remote_code=parent.runs_code)
    if parent.gguf_file:
        mend_tokenizer(tokenizer, Path(parent.path) / parent.gguf_file)
    if settings.chat_template:
        tokenizer.chat_template = Path(settings.chat_template).read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise UserError(
            f"{parent.name} has no chat template: it is probably a base model",
            where="model.chat_template",
            fix="start from its instruct model, or name a Jinja file: `chat_template: template.jinja`",
        )
    _set_pad_token(tokenizer)
    return tokenizer


def _source(parent: Parent) -> dict[str, Any]:
    """Return the place of the tokenizer: with the last adapter that brought one, else with the weights."""
    for adapter in reversed(parent.adapters):
        if (Path(adapter.path) / "tokenizer_config.json").exists():
            return {"pretrained_model_name_or_path": adapter.path}
    source = {"pretrained_model_name_or_path": parent.path, "revision": parent.revision or "main"}
    return source | ({"gguf_file": parent.gguf_file} if parent.gguf_file else {})


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, own: int | list[int] | None = None) -> list[int]:
    """Return the ids that end an assistant turn: the token the chat template ends one with, the tokenizer's
    eos, then the model's `own`, from its generation config.

    Raises UserError when the template cannot render a chat, or ends turns with no token of its own.
    """
    ids = [end_of_turn_id(tokenizer), tokenizer.eos_token_id, *([own] if isinstance(own, int) else own or ())]
    return list(dict.fromkeys(i for i in ids if i is not None))


def _set_pad_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Pad with a token that ends no turn: its own, one meant for it, or the unknown token.

    Where padding is the end-of-turn token, whatever masks padding by its id masks the end of the answer too,
    and the model never learns to stop. A vocabulary with nothing else keeps eos, since a new token would need
    a new row in the embedding.
    """
    stops = set(stop_token_ids(tokenizer))
    vocabulary = tokenizer.get_vocab()
    candidates = (tokenizer.pad_token, *_PAD_TOKENS, tokenizer.unk_token)
    usable = (token for token in candidates if token in vocabulary and vocabulary[token] not in stops)
    tokenizer.pad_token = next(usable, tokenizer.pad_token or tokenizer.eos_token)
