"""Asking the model hub, or its local cache, whether a model is there. Nothing but small files is
downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import UserError

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class HubModel:
    """A model repository at one commit, and the names of its files."""

    id: str
    commit: str
    files: frozenset[str]

    def read_json(self, filename: str) -> dict[str, Any]:
        """Return one of the repository's JSON files, from the cache or downloaded."""
        from huggingface_hub import hf_hub_download

        return json.loads(Path(hf_hub_download(self.id, filename, revision=self.commit)).read_text(encoding="utf-8"))


def find(model_id: str, revision: str | None, where: str | None) -> HubModel | None:
    """Return the model at `revision` (a branch, tag or commit; None: the hub's newest), or None when the hub
    has no such model or cannot be asked and the cache has not got it.

    Raises UserError for a model that may not be read, and for a revision that is not there.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if constants.HF_HUB_OFFLINE:
        return _cached(model_id, revision)
    try:
        info = HfApi().model_info(model_id, revision=revision, timeout=_TIMEOUT_SECONDS)
    except GatedRepoError as error:
        raise UserError(
            f"{model_id} is gated",
            where=where,
            fix="accept its terms on the hub, then log in with: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{model_id} has no revision {revision!r}", where=where) from error
    except (RepositoryNotFoundError, HFValidationError):
        return None
    except Exception:  # no network; which class it is depends on the HTTP client below the hub's library
        return _cached(model_id, revision)
    return HubModel(model_id, str(info.sha), frozenset(file.rfilename for file in info.siblings or ()))


def _cached(model_id: str, revision: str | None) -> HubModel | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for marker in ("config.json", "adapter_config.json"):
        try:
            path = try_to_load_from_cache(model_id, marker, revision=revision)
        except HFValidationError:
            return None
        if isinstance(path, str):
            snapshot = Path(path).parent
            return HubModel(model_id, snapshot.name, frozenset(file.name for file in snapshot.iterdir()))
    return None
