"""Connections that break when the other end is cut off, though nothing is sent: its kernel is asked now and then."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from typing import Any

SILENT_SECONDS = 30
"""An end that has not answered for this long is gone."""

_PROBE_AFTER_SECONDS, _PROBE_EVERY_SECONDS = 10, 5


def keep_alive(line: socket.socket) -> None:
    """Have the kernel break this TCP connection once the other end's has said nothing for SILENT_SECONDS. A process
    that is busy there, or stopped, is no reason: its kernel answers."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {
        "TCP_KEEPIDLE": _PROBE_AFTER_SECONDS,
        "TCP_KEEPINTVL": _PROBE_EVERY_SECONDS,
        "TCP_KEEPCNT": (SILENT_SECONDS - _PROBE_AFTER_SECONDS) // _PROBE_EVERY_SECONDS,
        "TCP_USER_TIMEOUT": SILENT_SECONDS * 1000,  # what was sent and not acknowledged
    }.items():
        if hasattr(socket, name):  # Linux has all of them
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def patient_opener() -> urllib.request.OpenerDirector:
    """Return what opens URLs whose answer may take as long as `timeout` says, while connecting to a machine that is not
    there, or waiting for one that is cut off, takes SILENT_SECONDS. Raises OSError for both."""
    return urllib.request.build_opener(_Http, _Https)


class _Patient(http.client.HTTPConnection):
    def connect(self) -> None:
        patience, self.timeout = self.timeout, SILENT_SECONDS
        super().connect()
        self.sock.settimeout(patience)
        keep_alive(self.sock)


class _PatientSecure(_Patient, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Patient, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_PatientSecure, request)
