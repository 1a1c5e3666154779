"""What a gateway tells Prometheus: counts, sizes and times. No name of anybody, no session's id, nothing of a contract.

Its own requests are counted as they come; all else is looked up when it is asked for.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.coordination.sessions import Figures
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.keys.tls import utc_now
from parties.service.notices import days_left

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class Counted(Protocol):
    """Whose figures are told."""

    def figures(self) -> Figures: ...


@dataclass(frozen=True)
class Place:
    """What is looked at beside the sessions: the home's files, and the certificate that ends some day."""

    home: Path
    certificate: str  # PEM
    clock: Callable[[], datetime] = utc_now


class Metrics:
    """One gateway's."""

    def __init__(self, counted: Counted, place: Place) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_AtRest(counted, place))
        self.requests = Histogram(
            "privity_gateway_request_seconds",
            "Time until an answer begins, by route",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self._registry,
        )

    def render(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)


class Stopwatch:
    """Times each request, by its route's pattern: a path may hold a session's id."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"
                route = getattr(scope.get("route"), "path", "none")
                labels = method, route, str(message["status"])
                self._metrics.requests.labels(*labels).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, send_timed)


class _AtRest(Collector):
    """What is looked up when Prometheus asks."""

    def __init__(self, counted: Counted, place: Place) -> None:
        self._counted, self._place = counted, place

    def describe(self) -> list[Metric]:
        """None beforehand: names are this module's own."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _of_sessions(self._counted.figures())
        yield from self._of_place()

    def _of_place(self) -> Iterator[Metric]:
        home, disk = self._place.home, shutil.disk_usage(self._place.home)
        for name, what, value in (
            ("audit_log_bytes", "Size of the gateway's audit log", _size(home / AUDIT_FILE)),
            ("disk_free_bytes", "Free on the disk of the gateway's home", disk.free),
            ("disk_total_bytes", "Size of that disk", disk.total),
            (
                "certificate_expires_days",
                "Whole days until the gateway's TLS certificate ends",
                days_left(self._place.certificate, self._place.clock()),
            ),
        ):
            yield GaugeMetricFamily(f"privity_gateway_{name}", what, value=value)


def _of_sessions(figures: Figures) -> Iterator[Metric]:
    sessions = GaugeMetricFamily("privity_gateway_sessions", "Sessions in the database, by state", labels=["state"])
    for state, count in figures.sessions.items():
        sessions.add_metric([state], count)
    yield sessions
    connected = GaugeMetricFamily("privity_gateway_connected", "Participants that are connected", labels=["where"])
    connected.add_metric(["here"], figures.connected_here)
    connected.add_metric(["elsewhere"], figures.connected - figures.connected_here)
    yield connected
    for name, what, value in (
        ("joined", "Participants that have joined", figures.joined),
        ("waiting_approvals", "Contracts that wait for a participant's operator", figures.waiting_approvals),
        ("event_streams", "Watchers of sessions at this gateway", figures.event_streams),
        ("gateways", "Gateways on the database", figures.gateways),
    ):
        yield GaugeMetricFamily(f"privity_gateway_{name}", what, value=value)
    messages = CounterMetricFamily(
        "privity_gateway_messages", "Messages of participants' streams at this gateway", labels=["direction", "type"]
    )
    for (direction, kind), count in sorted(figures.messages.items()):
        messages.add_metric([direction, kind], count)
    yield messages
    yield CounterMetricFamily("privity_gateway_sent_bytes", "Bytes to participants", value=figures.bytes_sent)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
