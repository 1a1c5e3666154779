"""Examinations of others, as far as they show from here: the gateway's clock, partners' keys, releases and ports.

A partner's port speaks TLS within a session alone, with a key made for it; between sessions it hangs up on each caller.
So a call shows that a route leads to such a port, not whose it is: keys are compared by the gateway's word instead.
"""

from __future__ import annotations

import base64
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from mpc.errors import PrivityError
from parties.agreement.contract import Approval
from parties.doctor.network import DIAL_S, why
from parties.doctor.symptom import Symptom
from parties.errors import GatewayError
from parties.keys.identity import fingerprint
from parties.keys.partners import Partners
from parties.keys.tls import split_address
from parties.process.links import Greeting
from parties.service.home import Home
from parties.service.overview import Listed, Told, ask
from parties.service.store import newest_approvals

SLACK: Final = timedelta(seconds=2)  # of clocks, beyond what the call itself took
MOST: Final = timedelta(seconds=60)  # more, and contracts and proofs are dated wrongly


def hear(home: Home) -> Told | GatewayError:
    """What the gateway tells, the first that answers; else why the last one did not."""
    failed = GatewayError("none answers", action="see what is said of the gateway")
    for place in home.settings.every_gateway:
        try:
            return ask(home, place, home.shown_certificate(place, DIAL_S), DIAL_S)
        except GatewayError as exc:
            failed = exc
        except (OSError, PrivityError):  # said by another examination
            continue
    return failed


def clock(heard: Told | GatewayError) -> Iterator[Symptom]:
    """How far this clock is from the gateway's."""
    if isinstance(heard, GatewayError):
        yield Symptom("clock", "note", f"how far it is from the gateway's is not known: {heard.what}", heard.action)
        return
    apart = abs(heard.ahead)
    side = "behind" if heard.ahead > timedelta() else "ahead of"
    what = f"{apart.total_seconds():.1f} s {side} the gateway's (give or take {heard.unsure.total_seconds():.1f} s)"
    beyond = apart - heard.unsure
    if beyond <= SLACK:
        yield Symptom("clock", "ok", what)
    else:
        action = "set this machine's clock by NTP or, if it is right, tell the gateway's operator"
        yield Symptom("clock", "mend" if beyond > MOST else "note", what, action)


def release(heard: Told | GatewayError) -> Iterator[Symptom]:
    """Whether the gateway runs the release that is installed here; nothing if it did not say."""
    if isinstance(heard, Told):
        yield _release("the gateway", heard.overview.version)


def _release(who: str, theirs: str) -> Symptom:
    if theirs == (own := version("privity")):
        return Symptom("versions", "ok", f"{who} runs {theirs}, as is installed here")
    action = "agree on one release: contracts of another may be refused"
    return Symptom("versions", "note", f"{who} runs {theirs or 'an earlier release'}, here is {own}", action)


def partners(
    home: Home, heard: Told | GatewayError, dialled: Mapping[str, str], dial_s: float = DIAL_S
) -> Iterator[Symptom]:
    """Of each confirmed partner the key and release that the gateway knows, and its port; `dialled` has addresses.

    A dealer's own home skips ports: its process is dialled, and dials nobody.
    """
    known = Partners(home.path("partners.json"))
    listed = {one.name: one for one in heard.overview.participants} if isinstance(heard, Told) else {}
    no_participants = {heard.overview.gateway} - listed.keys() if isinstance(heard, Told) else set()  # it witnesses
    told = {} if home.settings.role == "dealer" else _addresses(home) | dict(dialled)
    for name, confirmed in sorted(known.all().items()):
        if name in no_participants:
            continue
        about = f"partner {name}"
        if isinstance(heard, Told):
            yield from _known(about, name, confirmed, listed.get(name), known)
        if home.settings.role == "party":
            runs = name in listed and listed[name].online
            call = Call(told.get(name, ""), "as you say" if name in dialled else "where it was last", dial_s, runs)
            yield _port(about, home.settings.name, call)


def _addresses(home: Home) -> dict[str, str]:
    """Where each participant said it would be in the newest session with it that began."""
    found = {}
    for name, envelope in newest_approvals(home.path("state.sqlite")).items():  # verified as they were stored
        found[name] = Approval.model_validate_json(base64.b64decode(envelope["payload"])).endpoint
    return found


def _known(about: str, name: str, confirmed: str, listed: Listed | None, known: Partners) -> Iterator[Symptom]:
    """Whether the gateway knows the partner by the confirmed key, and its release."""
    if listed is None or listed.public_key is None:
        what = "the gateway knows nobody of that name" if listed is None else "it is invited, and has not joined yet"
        yield Symptom(about, "note", what, "ask its operator under which name it joins, and when")
        return
    shown = fingerprint(bytes.fromhex(listed.public_key))
    if shown != confirmed and known.keys().offered.get(name) != shown:
        action = "call its operator: every contract with it is refused here while the two differ"
        yield Symptom(about, "mend", f"the gateway knows it by the key {shown}; {confirmed} was confirmed here", action)
        return
    key = "the confirmed key" if shown == confirmed else "the key that it handed over to"
    if listed.online:
        yield Symptom(about, "ok", f"it is connected to the gateway, which knows it by {key}")
    else:
        since = f" since {listed.left:%Y-%m-%d %H:%M} UTC" if listed.left else ""
        what = f"the gateway knows it by {key}; it is not connected{since}"
        yield Symptom(about, "note", what, "sessions with it wait: ask its operator whether its daemon runs")
    if listed.version != version("privity"):
        yield _release(name, listed.version)


@dataclass(frozen=True)
class Call:
    """One port to be tried."""

    address: str  # HOST:PORT; empty: not known
    source: str  # how it is known
    timeout_s: float
    runs: bool  # whether the gateway has the partner's stream

    def failed(self, about: str, what: str, action: str) -> Symptom:
        """Of a partner that runs, something in between is to be mended."""
        return Symptom(about, "mend" if self.runs else "note", f"{self.address}, {self.source}, {what}", action)


def _port(about: str, own: str, call: Call) -> Symptom:
    """Call as a worker would, in the name of no session."""
    if not call.address:
        action = f"ask its operator for it, and try --dial {about.removeprefix('partner ')}=HOST:PORT"
        what = "its port is not known here: approvals tell it, and no session with it has begun"
        return Symptom(about, "note", what, action)
    try:
        with socket.create_connection(split_address(call.address), call.timeout_s) as raw:
            raw.settimeout(call.timeout_s)
            raw.sendall(Greeting(secrets.token_hex(32), 1, own).encode())
            answer = raw.recv(1)
    except socket.gaierror as exc:
        return call.failed(about, f"can't be resolved ({why(exc)})", "mend this machine's DNS, or ask for the address")
    except ConnectionResetError:
        answer = b""  # hung up on before it had read all
    except OSError as exc:
        route = "let firewalls at both ends pass it" if call.runs else "ask its operator whether its daemon runs there"
        return call.failed(about, f"does not answer ({why(exc)})", route)
    there = f"{call.address}, {call.source},"
    if answer:
        what = f"{there} answers with words, as no participant's port does"
        return Symptom(about, "mend", what, "ask its operator for the address")
    return Symptom(about, "ok", f"{there} takes calls, and hangs up between sessions; its TLS key shows in them alone")
