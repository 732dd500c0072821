"""The states of all random numbers that training draws: Python's, numpy's, torch's on the CPU and on GPUs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def random_states() -> dict[str, Any]:
    """Return where the random numbers of this process stand."""
    import numpy as np
    import torch

    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "gpus": gpus}


def set_random_states(states: dict[str, Any]) -> None:
    """Put the random numbers back to where they stood."""
    import numpy as np
    import torch

    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["gpus"] is not None:
        torch.cuda.set_rng_state_all(states["gpus"])


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Put them back afterwards, also after an error."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)
