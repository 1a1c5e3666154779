"""Who may speak on the control stream."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
import pytest

from gateway.client import Gateway
from gateway.home import invite
from parties.audit.events import KeyMismatched, KeyReplaced, NodeJoined
from parties.errors import SettingsError
from parties.keys.handover import hand_over
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, TlsKey, fetch_certificate, split_address, utc_now
from parties.service.messages import Rejected, Waiting, Welcome
from tests.gateway.conftest import Daemon


def test_invitation_admits_one_daemon(gateway, client: Gateway):
    """A daemon joins with its token while the gateway serves, and shows as online under its fingerprint."""
    daemon = gateway.invited("clinic-a")
    assert [(p.name, p.fingerprint, p.online) for p in client.participants()] == [("clinic-a", None, False)]
    daemon.dial()
    assert daemon.hear(Welcome).gateway == "gateway"
    (found,) = client.participants()
    assert (found.fingerprint, found.online, found.role) == (daemon.identity.fingerprint, True, "party")


def test_daemon_returns_with_its_key(gateway):
    """The daemon that joined may come back, and its newer stream replaces the older."""
    first = gateway.joined("clinic-a")
    second = gateway.again(first).dial()
    second.hear(Welcome)
    assert first.incoming.get(timeout=30) is None
    second.settled()


def mismatched(known: Daemon, shown: Daemon) -> KeyMismatched:
    """What the gateway's log says of a daemon with another key, or certificate, than the one that joined."""
    facts = {"known": known.identity.fingerprint, "presented": shown.identity.fingerprint}
    return KeyMismatched(name=known.name, **facts)


def test_second_use_of_a_token_is_refused(gateway):
    """Whoever copied a token is refused once it was used, and the log says whose key came."""
    first = gateway.joined("clinic-a")
    thief = gateway.again(first)
    thief.key, thief.identity = first.invitation.admit(utc_now()), Identity.generate()
    fault = thief.dial().hear(Rejected).fault
    assert fault.code == "partner"
    assert first.identity.fingerprint in fault.what
    assert thief.identity.fingerprint in fault.what
    assert gateway.recorded(KeyMismatched) == [mismatched(first, thief)]
    first.settled()


def test_a_key_that_was_handed_over_to_is_admitted(gateway, client: Gateway):
    """A daemon whose known key signed for another comes back with that one, and no longer with the old: both logged."""
    first = gateway.joined("clinic-a")
    new, swapped = Identity.generate(), Identity.generate()
    link = hand_over("clinic-a", first.identity, new, utc_now())
    second = gateway.again(first)
    second.identity, second.handovers = new, (link,)
    second.dial().hear(Welcome)
    (found,) = client.participants()
    assert found.fingerprint == new.fingerprint
    facts = {"known": first.identity.fingerprint, "successor": new.fingerprint}
    assert gateway.recorded(KeyReplaced) == [KeyReplaced(name="clinic-a", **facts)]
    refused = []
    for identity, handovers in [
        (first.identity, ()),
        (swapped, (link,)),
        (swapped, (hand_over("clinic-a", first.identity, swapped, utc_now()),)),
    ]:
        other = gateway.again(first)
        other.identity, other.handovers = identity, handovers
        assert "has joined with another key" in other.dial().hear(Rejected).fault.what
        refused.append(mismatched(second, other))
    assert gateway.recorded(KeyMismatched) == refused
    other = gateway.again(first)
    other.identity, other.handovers = swapped, (hand_over("clinic-b", new, swapped, utc_now()),)
    assert "not one chain of its keys" in other.dial().hear(Rejected).fault.what


def test_swapped_certificate_is_refused(gateway):
    """The identity that joined may not come with another TLS key either; the log says who came so."""
    first = gateway.joined("clinic-a")
    second = gateway.again(first)
    second.key = first.invitation.admit(utc_now())
    assert "another TLS certificate" in second.dial().hear(Rejected).fault.what
    assert gateway.recorded(KeyMismatched) == [mismatched(first, second)]
    assert gateway.recorded(NodeJoined) == [NodeJoined(name="clinic-a", fingerprint=first.identity.fingerprint)]


def test_foreign_certificate_fails_in_tls(gateway):
    """A stream whose certificate nobody invited does not get past the handshake."""
    stranger = gateway.invited("clinic-a")
    stranger.key = TlsKey.generate("clinic-a", now=utc_now())
    stranger.dial()
    assert stranger.incoming.get(timeout=30) is grpc.StatusCode.UNAVAILABLE


def test_stream_without_certificate_fails_in_tls(gateway):
    """A client that shows no certificate gets no byte of an answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(split_address(gateway.serving.control), 30) as raw,
        context.wrap_socket(raw) as tls,
    ):
        assert tls.recv(1) == b""


def test_expired_invitation_fails_in_tls(gateway):
    """An invitation that nobody used in time admits nobody."""
    token = invite(gateway.home, "clinic-a", clock=lambda: utc_now() - timedelta(days=30))
    late = gateway.invited("clinic-b")
    late.invitation = Invitation.parse(token)
    late.key = late.invitation.admit(utc_now())
    late.dial()
    assert late.incoming.get(timeout=30) is grpc.StatusCode.UNAVAILABLE


def test_token_speaks_for_its_own_name_alone(gateway):
    """An invited daemon can't join in the name of another one that is invited too."""
    gateway.invited("clinic-b")
    fault = gateway.invited("clinic-a").dial(name="clinic-b").hear(Rejected).fault
    assert "not under the invitation of 'clinic-b'" in fault.what


def test_role_is_the_invited_one(gateway):
    """A party can't make itself a dealer."""
    daemon = gateway.invited("clinic-a")
    daemon.role = "dealer"
    assert "invited as party" in daemon.dial().hear(Rejected).fault.what


def test_introduction_names_the_certificate_of_its_stream(gateway):
    """An introduction that was signed for another connection's certificate is refused."""
    other = TlsKey.generate("clinic-a", now=utc_now())
    fault = gateway.invited("clinic-a").dial(sha256=other.sha256).hear(Rejected).fault
    assert "another certificate than its connection shows" in fault.what


def test_one_identity_is_one_participant(gateway):
    """Two names can't share a key: a dealer that is also a party would go unnoticed."""
    clinic = gateway.joined("clinic-a")
    dealer = gateway.invited("dealer", "dealer", identity=clinic.identity)
    assert "the identity key with which 'clinic-a' joined" in dealer.dial().hear(Rejected).fault.what


def test_introduction_comes_first_and_once(gateway):
    """A second introduction, or anything said out of place, ends the stream with a reason."""
    daemon = gateway.joined("clinic-a")
    again = gateway.again(daemon).dial()
    again.hear(Welcome)
    again.say(Waiting(session="0" * 64, reason="fine"))._outgoing.put(b"{}")
    again.incoming.get(timeout=30)
    assert "no message" in again.hear(Rejected).fault.what


def test_fresh_invitation_voids_the_open_one(gateway):
    """A token that went astray is void once the name is invited anew."""
    lost = gateway.invited("clinic-a")
    found = gateway.invited("clinic-a")
    lost.dial()
    assert lost.incoming.get(timeout=30) is grpc.StatusCode.UNAVAILABLE
    found.dial().hear(Welcome)


def test_names_that_joined_stay_taken(gateway):
    """Nobody can be invited into a participant's place."""
    gateway.joined("clinic-a")
    with pytest.raises(SettingsError, match="has joined already"):
        invite(gateway.home, "clinic-a")


@pytest.mark.parametrize("name", ["gateway", "Clinic A", "", "../a"])
def test_names_that_mean_something_else_are_refused(gateway, name: str):
    """A participant can't be called like the gateway itself, or by what is no name."""
    with pytest.raises(SettingsError):
        invite(gateway.home, name)


def test_calls_without_a_certificate_bring_nobody_down(gateway):
    """Thousands at once of strangers, whose handshakes are refused, while invitations are written: daemons join."""

    def call(_: int) -> None:
        fetch_certificate(gateway.serving.control, stranger.gateway_sha256)

    stranger = gateway.invited("stranger").invitation
    with ThreadPoolExecutor(8) as callers:
        calls = callers.map(call, range(2_000))
        for number in range(8):
            gateway.joined(f"clinic-{number}")
        assert len(list(calls)) == 2_000
    gateway.joined("clinic-8").settled()
