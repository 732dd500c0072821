"""OpenAI-compatible endpoints, hosted or local: one question, and a reply or a named error in bounded time."""

from __future__ import annotations

from posttrain.endpoint.address import Endpoint, checked_url, parse_endpoint
from posttrain.endpoint.client import LIMIT, Client, EndpointError, Reply, connect

__all__ = ["LIMIT", "Client", "Endpoint", "EndpointError", "Reply", "checked_url", "connect", "parse_endpoint"]
