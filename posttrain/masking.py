"""Keys and tokens taken out of what is printed or kept for reading: logs, errors, run.json.

Known by their name in the environment, by having been used as a key, or by their shape. What a row says is kept where
rows are kept; see docs/security.md.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

MASK = "***"

_SHORTEST = 8  # characters; a shorter value is a word that would be masked everywhere
_NAMES = re.compile(
    r"(?:^|_)(?:KEY|APIKEY|TOKEN|PAT|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?:_ID)?(?:$|_)", re.IGNORECASE
)
_SHAPES = re.compile(
    r"""\b(?:
        sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}     # OpenAI, Anthropic and those like them
      | hf_[A-Za-z0-9]{16,}                        # Hugging Face
      | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_[A-Za-z0-9_]{16,}
      | glpat-[A-Za-z0-9_-]{16,} | xox[abeprs]-[A-Za-z0-9-]{10,}
      | (?:AKIA|ASIA)[A-Z0-9]{16} | AIza[A-Za-z0-9_-]{30,}
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*    # a JSON web token
    )
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    | (?<=://)[^\s/@:'"]*:[^\s/@'"]+(?=@)          # user:password@ in a URL
    | (?<=[?&](?:key|sig)=)[^\s&'"]+ | (?<=[?&](?:token)=)[^\s&'"]+ | (?<=[?&](?:api_key|api-key)=)[^\s&'"]+
    | (?<=[?&](?:access_token)=)[^\s&'"]+ | (?<=[?&](?:signature)=)[^\s&'"]+ | (?<=[?&]X-Amz-Signature=)[^\s&'"]+
    | (?<=\bBearer\ )[A-Za-z0-9._~+/=-]{8,}
    """,
    re.VERBOSE | re.IGNORECASE,
)

_used: set[str] = set()


def remember_secret(value: str) -> None:
    """Mask `value` from now on: a key that was read from a variable of any name."""
    if len(value) >= _SHORTEST:
        _used.add(value)
        _known.cache_clear()


def masked(text: str) -> str:
    """`text` with the values of secret variables, the keys in use, and what has the shape of a key, as ``***``."""
    return _SHAPES.sub(MASK, masked_values(text))


def masked_values(text: str) -> str:
    """`text` with the values of secret variables and the keys in use as ``***``: for results, in which rows stand."""
    known = _known(len(os.environ))
    return known.sub(MASK, text) if known else text


@lru_cache(maxsize=1)
def _known(variables: int) -> re.Pattern[str] | None:
    """One pattern of all values that are known; made anew when variables were added."""
    named = (value.strip() for name, value in os.environ.items() if _NAMES.search(name))
    # A variable may name a file that holds the secret: a path is none.
    found = {value for value in named if len(value) >= _SHORTEST and not os.path.exists(value)} | _used
    return re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True)))) if found else None
