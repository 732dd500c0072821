from __future__ import annotations

import sys

import pytest

from posttrain.endpoint import Endpoint, checked_url, connect, parse_endpoint
from posttrain.endpoint.address import OPENAI_URL
from posttrain.errors import UserError


def test_a_url_and_a_model_name_an_endpoint() -> None:
    found = parse_endpoint("http://127.0.0.1:8000/v1/#org/my-model")
    assert found is not None and (found.base_url, found.model) == ("http://127.0.0.1:8000/v1", "org/my-model")
    assert str(found) == "http://127.0.0.1:8000/v1#org/my-model"
    assert parse_endpoint("HTTPS://host/v1#m") is not None


@pytest.mark.parametrize("name", ["runs/sft", "builtin:tiny", "org/model", "-", "model#2", "ftp://host#m"])
def test_other_names_are_no_endpoints(name: str) -> None:
    assert parse_endpoint(name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("http://host/v1", "without its model"),
        ("http://host/v1#", "without its model"),
        ("http://#m", "not the base URL"),
        ("http://host:port/v1#m", "not the base URL"),
        ("http://host:99999/v1#m", "not the base URL"),
        ("http://host/v1?api-version=1#m", "not the base URL"),
        ("http://ho st/v1#m", "not the base URL"),
    ],
)
def test_a_url_that_is_no_endpoint_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_endpoint(name)


@pytest.mark.parametrize("url", ["http://me:s3cret@host/v1", "http://s3cret@host/v1", "http://s3cret@host:port/v1"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as of_url:
        checked_url(url)
    with pytest.raises(UserError, match="OPENAI_API_KEY") as of_name:
        parse_endpoint(url + "#m")
    assert "s3cret" not in str(of_url.value) + str(of_name.value)


def test_a_key_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(UserError, match=r"(?s)no key for https://api\.openai\.com.*set OPENAI_API_KEY"):
        connect(Endpoint(OPENAI_URL, "m"))
    with pytest.raises(UserError, match="set JUDGE_KEY"):
        connect(Endpoint("http://127.0.0.1:1/v1", "m", api_key_env="JUDGE_KEY"))
    connect(Endpoint("http://127.0.0.1:1/v1", "m"))
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(UserError) as error:
        connect(Endpoint(OPENAI_URL, "m"))
    assert "two words" not in str(error.value)


def test_without_the_openai_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install 'posttrain\[endpoint\]'"):
        connect(Endpoint("http://127.0.0.1:1/v1", "m"))
