"""A small server of chat completions that answers as it is told, faults included. Run as a program; it prints its port.

POST /script takes the steps: each request is answered by the next one, and by the last one from then on. A step is
{status, headers, content, refusal, finish_reason, message, usage, raw, type, delay, drip, refuses, key, fails, jitter,
echo, scores}, all optional. By the text of a question, `fails` is the share of them that are answered by 500, and with
`scores` it decides the score; `jitter` is the longest delay of a random one; `echo` the parameter of the request that
is the reply. An argument names the port.
GET /seen returns the requests so far as [{headers, body, at}].
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

lock = threading.Lock()
steps: list[dict[str, Any]] = [{}]
seen: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/script":
            with lock:
                steps[:], seen[:] = body, []
            return self.answer({}, 200)
        with lock:
            seen.append(
                {
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": body,
                    "at": time.monotonic(),
                }
            )
            step = steps.pop(0) if len(steps) > 1 else steps[0]
        time.sleep(step.get("delay", 0) + random.uniform(0, step.get("jitter", 0)))
        of_text = zlib.crc32(json.dumps(body.get("messages")).encode())
        if of_text < step.get("fails", 0) * 2**32:
            return self.answer({"error": {"message": "overloaded"}}, 500)
        if self.path != "/v1/chat/completions":
            return self.answer({"error": {"message": f"no {self.path}"}}, 404)
        if "key" in step and self.headers.get("Authorization") != f"Bearer {step['key']}":
            said = f"Incorrect API key provided: {self.headers.get('Authorization')}"
            return self.answer({"error": {"message": said, "code": "invalid_api_key"}}, 401)
        if refused := [name for name in step.get("refuses", []) if name in body]:
            return self.answer({"error": {"message": f"Unsupported parameter: {refused[0]}"}}, 400)
        if "raw" in step:
            return self.send(step["raw"].encode(), step.get("status", 200), step)
        if step.get("status", 200) != 200:
            said = step.get("body", {"error": {"message": step.get("content", "broken")}})
            return self.send(json.dumps(said).encode(), step["status"], step)
        content = str(body.get(step["echo"])) if "echo" in step else step.get("content", '{"score": 1}')
        if "scores" in step:
            content = json.dumps({"score": of_text % 11 / 10})
        message = {"role": "assistant", "content": content}
        message |= {"refusal": step["refusal"]} if "refusal" in step else {}
        choice = {"index": 0, "message": message | step.get("message", {}), "finish_reason": "stop"}
        choice["finish_reason"] = step.get("finish_reason", "stop")
        usage = step.get("usage", {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        return self.send(json.dumps(reply | {"usage": usage}).encode(), 200, step)

    def do_GET(self) -> None:
        with lock:
            self.answer(list(seen), 200)

    def answer(self, value: Any, status: int) -> None:
        self.send(json.dumps(value).encode(), status, {})

    def send(self, data: bytes, status: int, step: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", step.get("type", "application/json"))
        self.send_header("Content-Length", str(len(data)))
        for name, value in step.get("headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(data), 1 if "drip" in step else len(data) or 1):
            self.wfile.write(data[start : start + (1 if "drip" in step else len(data))])
            self.wfile.flush()
            time.sleep(step.get("drip", 0))

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    print(server.server_port)
    sys.stdout.flush()
    server.serve_forever()
