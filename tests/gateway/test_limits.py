"""How often somebody may ask."""

from __future__ import annotations

import httpx2
import pytest

from gateway.access.guard import MINUTES_AT_ONCE, sender_of
from gateway.access.limits import Buckets
from gateway.settings import GatewaySettings
from tests.gateway.conftest import House, check_problem


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_steadily():
    """So many at once, then so many a second; how long to wait is told exactly, and nobody pays for another."""
    clock = Clock()
    buckets = Buckets(2.0, 3.0, clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0
    clock.now += 0.25
    assert buckets.take("a") == 0.25
    clock.now += 0.25
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    clock.now += 1000
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_buckets_take_little_memory():
    """Of too many senders the one that asked longest ago is forgotten."""
    buckets = Buckets(1.0, 1.0, Clock(), most_buckets=2)
    assert [buckets.take(name) for name in ("a", "b", "a", "c")] == [0.0, 0.0, 1.0, 0.0]
    assert buckets.take("a") > 0  # asked after b, so it is known still
    assert len(buckets._buckets) == 2


@pytest.mark.parametrize(
    ("host", "sender"),
    [
        ("192.0.2.7", "address 192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
    ],
)
def test_a_sender_is_an_address_or_its_network(host: str, sender: str):
    """Who has a whole IPv6 network has no bucket for each of its addresses."""
    assert sender_of({"client": (host, 5)}) == sender


def test_too_many_requests_are_told_when_to_come_again(house: House):
    """Above the rate a request is a problem with `Retry-After`, before anything of it is looked at."""
    house.change("request_rate = 300.0", "request_rate = 0.4")
    with house.serve(), house.http() as http:
        answers = [http.get("/v1/health") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        check_problem(answers[2], 429, "rest.too-many")
        assert 1 <= int(answers[2].headers["retry-after"]) <= 3


def test_guesses_run_out(gateway: House):
    """After so many wrong tokens an address is told to wait; whoever has a right one is not."""
    address = f"{gateway.serving.url}/v1/me"
    with httpx2.Client(headers={"authorization": "Bearer wrong"}) as guesser:
        at_once = int(MINUTES_AT_ONCE * GatewaySettings().failures_a_minute)
        statuses = [guesser.get(address).status_code for _ in range(at_once + 1)]
        assert statuses[:-1] == [401] * at_once
        found = check_problem(guesser.get(address), 429, "rest.too-many")
        assert "wait" in found.action
        check_problem(guesser.get(f"{gateway.serving.url}/login?code=x"), 429, "rest.too-many")
    with gateway.http() as http:
        assert http.get("/v1/me").status_code == 200
