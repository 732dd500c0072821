"""What a GGUF file needs beyond transformers' own loading of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# llama.cpp's names of the rules that split digits apart and then split as GPT-2 did; transformers has none of
# them and falls back to GPT-2's, which cuts "\n\n1." elsewhere than the model was trained on.
_DIGITS_THEN_GPT2 = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
_GPT2 = {"gpt-2", "gpt2", "default", "mpt", "olmo", "jais", "phi-2"}


def mend_tokenizer(tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    """Split text the way the file says, where transformers does not know the rule; say so where we do not
    either."""
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.integrations.gguf.reader import read_gguf_metadata

    metadata, _ = read_gguf_metadata(str(file))
    rule = metadata.get("tokenizer.ggml.pre")
    if rule in _DIGITS_THEN_GPT2:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        return
    known = metadata.get("tokenizer.ggml.model") != "gpt2" or rule in {*GGUF_PRE_TOKENIZER_SPLITS, *_GPT2}
    if not known and os.environ.get("RANK", "0") == "0":
        print(
            f"{file.name} splits text by the rule {rule!r}, which is not known here: GPT-2's is used, and "
            "some text may be cut into other tokens than the model was trained on",
            file=sys.stderr,
        )
