"""What the gateway tells a daemon's operator who asks: its time and release, and everybody's key as it knows them.

One call beside the stream, on the same port and under the same certificates, which changes nothing at either end. It is
the gateway's word: a key in it is compared with the one that was confirmed, never taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import grpc
from pydantic import AwareDatetime, ValidationError

from parties.agreement.contract import Hex32
from parties.agreement.plan import Frozen, Name, explain
from parties.errors import GatewayError
from parties.keys.tls import utc_now
from parties.service.control import common_name
from parties.service.home import Home
from parties.service.messages import MAX_MESSAGE_BYTES, SERVICE, Release

OVERVIEW: Final = "Overview"  # the method's name; what is sent to it is empty

_REFUSALS: Final = {
    grpc.StatusCode.UNIMPLEMENTED: ("is of a release that tells no time", "ask its operator to update it"),
    grpc.StatusCode.PERMISSION_DENIED: ("tells those that have joined", "start this daemon, which joins by that"),
}


class Listed(Frozen):
    """One participant, as the gateway knows it."""

    name: Name
    role: Literal["party", "dealer"]
    public_key: Hex32 | None  # None: invited, not joined yet
    version: Release  # Privity's, as it said when it connected last
    online: bool
    left: AwareDatetime | None  # when its last connection ended


class Overview(Frozen):
    """The gateway, and all who are invited."""

    gateway: Name
    version: Release
    at: AwareDatetime  # on the gateway's clock, as it answered
    participants: tuple[Listed, ...]


@dataclass(frozen=True)
class Told:
    """An overview, and how far the gateway's clock is from this one."""

    overview: Overview
    ahead: timedelta  # of the gateway's clock
    unsure: timedelta  # half of how long the answer took


def ask(home: Home, address: str, certificate: str, timeout_s: float, clock: Callable[[], datetime] = utc_now) -> Told:
    """Ask the gateway at this address, which must show this certificate (PEM).

    Raises: GatewayError if it does not answer, does not admit this daemon, or says what is no overview.
    """
    tls = home.tls
    credentials = grpc.ssl_channel_credentials(certificate.encode(), tls.key_pem, tls.certificate.encode())
    options = [
        ("grpc.ssl_target_name_override", common_name(certificate)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", 0),
    ]
    with grpc.secure_channel(address, credentials, options) as channel:
        before = clock()
        try:
            content = channel.unary_unary(f"/{SERVICE}/{OVERVIEW}")(b"", timeout=timeout_s)
        except grpc.RpcError as exc:
            what, action = _REFUSALS.get(exc.code(), ("does not answer a call", "ask its operator whether it runs"))
            raise GatewayError(f"the gateway at {address} {what}", action=action) from exc
        after = clock()
    try:
        overview = Overview.model_validate_json(content)
    except ValidationError as exc:
        raise GatewayError(f"the gateway at {address} said what is no overview: {explain(exc)}") from exc
    unsure = (after - before) / 2
    return Told(overview, overview.at - (before + unsure), unsure)
