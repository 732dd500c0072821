# ruff: noqa: E501  (tables of texts)
"""Keys are taken out of messages; words that only look like them are left."""

from __future__ import annotations

import pytest

from posttrain import masking
from posttrain.masking import masked, masked_values, remember_secret


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN",
     "MY_JUDGE_KEY", "PGPASSWORD_DB_PASSWORD", "client_secret", "GITHUB_PAT"],
)  # fmt: skip
def test_values_of_secret_variables(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "correct horse battery")
    assert masked("said: correct horse battery!") == "said: ***!"
    assert masked_values("correct horse battery") == "***"


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKENIZERS_PARALLELISM", "false-false"), ("MY_TOKEN", "short"), ("MONKEY", "bananas-and-more"), ("KEYBOARD", "qwertyuiop")],
)  # fmt: skip
def test_other_variables(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert masked(f"x {value} y") == f"x {value} y"


def test_a_path_to_a_secret_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("SERVICE_CREDENTIALS", str(tmp_path))
    assert masked(f"no file {tmp_path}") == f"no file {tmp_path}"


def test_a_key_of_any_name_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_used", set())
    remember_secret("a-judge-by-its-own-name")
    assert masked("HTTP 401: a-judge-by-its-own-name") == "HTTP 401: ***"


SHAPES = [
    "sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2", "sk-ant-api03-abcdefghijk_lmno-pqr9", "hf_abcdefghijklmnopqrstuvwxyzABCD",
    "ghp_abcdefghijklmnopqrst1234", "AKIAIOSFODNN7EXAMPLE", "xoxb-1234567890-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
]  # fmt: skip


@pytest.mark.parametrize("key", SHAPES)
def test_shapes_of_keys(key: str) -> None:
    assert masked(f"role must be text, not '{key}'.") == "role must be text, not '***'."
    assert masked_values(key) == key  # in results rows stand as they are


def test_credentials_in_addresses() -> None:
    assert masked("http://me:hunter22@host:80/v1?token=abc&x=1") == "http://***@host:80/v1?token=***&x=1"
    assert masked("Authorization: Bearer abcdefgh.ijk") == "Authorization: Bearer ***"
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    assert masked(f"{pem} left") == "*** left"


@pytest.mark.parametrize(
    "text",
    ["runs/sk-learning-rate-sweep", "task-abcdefghijklmnopqrstuv1", "http://127.0.0.1:8000/v1", "12:30 at http://a/b@c",
     "sha256 " + "a1" * 32, "train.learning_rate: 1e-5", "model.path: owner/name", "tokens/s 1,234"],
)  # fmt: skip
def test_words_that_are_no_keys(text: str) -> None:
    assert masked(text) == text
