"""A session watched to its end."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sandbox.consortium import Consortium
from gateway.views import SessionView
from gateway.watching import SessionEvent
from parties.errors import GatewayError


def follow(consortium: Consortium, session: str, on_event: Callable[[SessionEvent], None]) -> SessionView:
    """Raises: GatewayError that says who failed and why."""
    if consortium.client is None:
        raise GatewayError("the consortium is not started")
    for event in consortium.client.events(session):
        on_event(event)
    view = consortium.client.session(session)
    if view.state != "completed":
        line = view.fault.line() if view.fault is not None else "no reason was given"
        raise GatewayError(f"the session {view.state}: {line}", action="see the participants' daemon.log")
    return view
