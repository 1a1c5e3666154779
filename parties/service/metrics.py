"""What a node or a dealer tells Prometheus, on a loopback port of its own if its settings say so.

Counts, sizes and times alone: no partner's name, no session's id, nothing of data or contracts. So no login stands
before it; a page of another site is refused all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parties.service.notices import certificates, days_left
from parties.service.pause import Pause
from parties.service.standing import Disk, waiting
from parties.web.addresses import names_loopback
from parties.web.server import Port

if TYPE_CHECKING:
    from parties.service.daemon import Daemon

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FAREWELL_S: Final = 1


class Figures(Collector):
    """Looked up when Prometheus asks."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def describe(self) -> list[Metric]:
        """None beforehand: names are this module's own."""
        return []

    def collect(self) -> Iterator[Metric]:
        daemon, now = self._daemon, datetime.now(UTC)
        sessions = GaugeMetricFamily("privity_node_sessions", "Sessions that were answered, by state", labels=["state"])
        for state, count in daemon.store.count_by_state().items():
            sessions.add_metric([state], count)
        yield sessions
        ends = GaugeMetricFamily("privity_node_certificate_expires_days", "Whole days until it ends", labels=["whose"])
        for whose, pem in certificates(daemon.home).items():
            ends.add_metric([whose], days_left(pem, now))
        yield ends
        ages, disk = [one.age_s for one in waiting(daemon.store, now)], Disk.of(daemon.home.directory)
        for name, what, value in (
            ("waiting_approvals", "Contracts that wait for the operator", len(ages)),
            (
                "waiting_oldest_seconds",
                "For how long the oldest of them waits",
                max(ages, default=0),
            ),
            ("workers", "Processes of sessions", sum(live.process is not None for live in daemon.live.values())),
            ("gateway_connected", "Whether the control stream is up", daemon.stream.connected.is_set()),
            ("paused", "Whether contracts are refused", Pause(daemon.home).since is not None),
            ("audit_log_entries", "Entries of the audit log", daemon.journal.size),
            ("audit_log_bytes", "Size of its file", daemon.home.path("audit.sqlite").stat().st_size),
            ("disk_free_bytes", "Free on the disk of the home", disk.free_bytes),
            ("disk_total_bytes", "Size of that disk", disk.total_bytes),
        ):
            yield GaugeMetricFamily(f"privity_node_{name}", what, value=float(value))


class MetricsPort(Port):
    """The port, in the daemon's own event loop."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon.settings.metrics, "metrics", FAREWELL_S)
        self._registry = CollectorRegistry()
        self._registry.register(Figures(daemon))

    @property
    def url(self) -> str:
        """As of any port, with the path."""
        return f"{super().url}/metrics"

    async def open(self) -> None:
        """Raises: SettingsError if the port is taken."""
        await self.serve(Starlette(routes=[Route("/metrics", self._answer)]))

    async def _answer(self, request: Request) -> Response:
        if not names_loopback(request.headers.get("host", "")) or "origin" in request.headers:
            return Response("this is for programs on this machine\n", HTTPStatus.FORBIDDEN, media_type="text/plain")
        return Response(generate_latest(self._registry), media_type=MEDIA_TYPE)
