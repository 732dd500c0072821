"""The levels of isolation that this machine allows; a test that asks for `isolation` runs at each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from posttrain.sandbox import Configuration, Isolation, Zygote, lent
from posttrain.sandbox.levels import ISOLATIONS, probed
from posttrain.sandbox.pool import close


def there(isolation: Isolation) -> bool:
    """Tell whether the machine has this level; "limits" is always there."""
    return isolation == "limits" or not probed(isolation).missing


@pytest.fixture(scope="session", params=ISOLATIONS)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """A level that isolates."""
    if not there(request.param):
        pytest.skip(f"no {request.param} here: {probed(request.param).missing}")
    return request.param


@pytest.fixture(scope="session", params=(*ISOLATIONS, "limits"))
def any_level(request: pytest.FixtureRequest) -> Isolation:
    """Any level, limits alone included."""
    if not there(request.param):
        pytest.skip(f"no {request.param} here: {probed(request.param).missing}")
    return request.param


@pytest.fixture
def zygote(isolation: Isolation) -> Iterator[Zygote]:
    with lent(Configuration(isolation)) as zygote:
        yield zygote


@pytest.fixture
def any_zygote(any_level: Isolation) -> Iterator[Zygote]:
    with lent(Configuration(any_level)) as zygote:
        yield zygote


@pytest.fixture(scope="session", autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    close()
