"""What a stage says on stderr, and what it keeps the libraries from saying."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Tell the user on stderr; one rank speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def quiet() -> None:
    """Keep the libraries' bars and notices off the terminal; what they print is not what a user asked for."""
    import warnings

    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
