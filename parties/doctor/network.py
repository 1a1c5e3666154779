"""Examinations of the ways in and out: the gateway and its certificate, the own port, the address that others use."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from parties.doctor.symptom import Symptom
from parties.keys.tls import split_address
from parties.service.home import Home
from parties.service.notices import days_left
from parties.web.addresses import Address, parse_address

DIAL_S: Final = 5.0
ACCEPT_S: Final = 1.0  # after a call was taken somewhere: it is here by then, or elsewhere

_BIND: Final = {
    errno.EADDRINUSE: "stop the other program, or choose another `listen` in settings.toml",
    errno.EADDRNOTAVAIL: "that is no address of this machine: correct `listen` in settings.toml",
    errno.EACCES: "choose a port above 1023 as `listen` in settings.toml",
}


def gateway(home: Home, status: dict[str, Any] | None, now: datetime) -> Iterator[Symptom]:
    """Each answers, and shows the certificate that the invitation names. Raises: PartnerError if one shows another."""
    answers = False
    for place in home.settings.every_gateway:
        try:
            shown = home.shown_certificate(place, DIAL_S)
        except OSError as exc:
            action = "ask its operator whether it runs, and let the firewall pass connections to it"
            yield Symptom("gateway", "mend", f"{place} does not answer ({why(exc)})", action)
            continue
        answers = True
        if days_left(shown, now) < 0:
            what = f"{place} shows the certificate that the invitation names, which has ended: no stream begins"
            yield Symptom("gateway", "mend", what, "ask its operator what follows it")
        else:
            yield Symptom("gateway", "ok", f"{place} shows the certificate that the invitation names")
    if answers and status is not None and not status["gateway"]:
        action = "look for `gateway away` in the daemon's log"
        yield Symptom("gateway", "mend", "the daemon that runs here is not connected to it", action)


def address(home: Home, status: dict[str, Any] | None) -> Iterator[Symptom]:
    """The own port is free or the daemon's, and the address that others are told leads to it."""
    settings, listen = home.settings, parse_address(home.settings.listen)
    told = settings.advertise
    if listen.port == 0:
        action = "between organisations choose a fixed port as `listen`, and open it in the firewall"
        yield Symptom("listen", "note", "the port is another one at each start", action)
    if _is_any(listen) and not told:
        action = "set `advertise` in settings.toml to the HOST:PORT at which they reach this machine"
        yield Symptom("advertise", "mend", f"others would be told {listen}, which is no machine's address", action)
    if status is not None:
        yield Symptom("listen", "ok", f"the daemon runs, and has {listen}")
        told = str(status["endpoint"])
        yield from () if _is_any(parse_address(told)) else _reach(told, None)
        return
    try:
        listener = socket.create_server(listen, backlog=1)
    except OSError as exc:
        action = _BIND.get(exc.errno or 0, "correct `listen` in settings.toml")
        yield Symptom("listen", "mend", f"the daemon could not listen on {listen} ({why(exc)})", action)
        return
    with listener:
        yield Symptom("listen", "ok", f"no daemon runs; {listen} is free for it")
        if told or not _is_any(listen):
            yield from _reach(told or f"{listen.host}:{listener.getsockname()[1]}", listener)


def _reach(told: str, listener: socket.socket | None) -> Iterator[Symptom]:
    """Dial as others would; where no daemon listens, the call must arrive at `listener`."""
    from_outside = f"ask a partner to try it: from inside, a firewall that translates addresses may not answer ({told})"
    try:
        with socket.create_connection(split_address(told), DIAL_S):
            if listener is not None:
                listener.settimeout(ACCEPT_S)
                listener.accept()[0].close()
    except socket.gaierror as exc:
        action = "correct `advertise` in settings.toml, or the name in the DNS"
        yield Symptom("advertise", "mend", f"{told} can't be resolved ({why(exc)})", action)
    except TimeoutError:
        yield Symptom("advertise", "note", f"a call to {told} does not arrive here", from_outside)
    except OSError as exc:
        yield Symptom("advertise", "note", f"{told} does not answer from here ({why(exc)})", from_outside)
    else:
        yield Symptom("advertise", "ok", f"{told} leads here, seen from this machine")


def _is_any(found: Address) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(found.host).is_unspecified
    return False


def why(error: OSError) -> str:
    """In a few words."""
    return error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
