"""The model itself, whatever holds it."""

from __future__ import annotations

from typing import Any


def plain_model(model: Any) -> Any:
    """Return the transformers model that DeepSpeed's engine, data parallelism or an adapter holds."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
