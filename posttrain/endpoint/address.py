"""Where a model is served, by what name, and with which key. The key is read from the environment and stays there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from posttrain.errors import UserError
from posttrain.masking import remember_secret

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
LONGEST_BACKOFF_SECONDS = 8.0
"""The openai package waits up to this long between two attempts, where the server names no time."""


@dataclass(frozen=True)
class Endpoint:
    """One model behind one address. `timeout_seconds` is for one attempt, `max_retries` the attempts after it.

    `max_wait_seconds` is for a server that answers nobody; `requests_per_minute` bounds all attempts of this process.
    """

    base_url: str
    model: str
    api_key_env: str = KEY_VARIABLE
    timeout_seconds: float = 60.0
    max_retries: int = 2
    max_wait_seconds: float = 0.0
    requests_per_minute: float | None = None

    @property
    def limit_seconds(self) -> float:
        """The longest that one question can take, all attempts and the waits between them included; what it waits for
        its turn, or for a server that is down, comes on top."""
        return (self.max_retries + 1) * (self.timeout_seconds + LONGEST_BACKOFF_SECONDS)

    def __str__(self) -> str:
        return f"{self.base_url}#{self.model}"


def parse_endpoint(name: str) -> Endpoint | None:
    """Return the endpoint that ``http://127.0.0.1:8000/v1#my-model`` names, and None for a name that is no URL.

    Its time-outs are those for sampling long completions. Raises UserError for a URL that is not as it must be.
    """
    if not re.match(r"https?://", name, re.IGNORECASE):
        return None
    url, _, model = name.partition("#")
    fix = "write it as http://127.0.0.1:8000/v1#my-model"
    try:
        url = checked_url(url)
    except ValueError as error:
        raise UserError(str(error), fix=fix) from None
    if not model:
        raise UserError(f"the endpoint {url} is named without its model", fix=fix)
    return Endpoint(url, model, timeout_seconds=300.0, max_retries=3, max_wait_seconds=120.0)


def checked_url(url: str) -> str:
    """Return a base URL without its last slash; raises ValueError, which does not repeat a password in it."""
    try:
        parts = urlsplit(url)
        secret = parts.username is not None or parts.password is not None
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        secret, good = "@" in url, False
    if secret:
        raise ValueError(f"a URL with a user name or password in it: put the key into {KEY_VARIABLE} instead")
    if not good or parts.query or parts.fragment or re.search(r"\s", url):
        raise ValueError("not the base URL of an endpoint, such as http://127.0.0.1:8000/v1")
    return url.rstrip("/")


def api_key(endpoint: Endpoint) -> str:
    """Return the key, or an empty text where there is none and none may be needed.

    Raises UserError for OpenAI's own address, or a variable of the user's own, without a key.
    """
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key and (endpoint.base_url == OPENAI_URL or endpoint.api_key_env != KEY_VARIABLE):
        fix = f"set {endpoint.api_key_env}, or name a server of your own by base_url or {URL_VARIABLE}"
        raise UserError(f"no key for {endpoint}", fix=fix)
    remember_secret(key)
    if not re.fullmatch(r"[!-~]*", key):
        raise UserError(f"what {endpoint.api_key_env} holds is no key: it has spaces or letters beyond ASCII")
    return key
