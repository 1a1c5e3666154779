"""What the kernel measured of a TCP connection while a session used it: nothing is sent for it."""

from __future__ import annotations

import socket
import struct

from parties.service.messages import MeasuredLink

# Of Linux's struct tcp_info.
_BYTES = 168
_APP_LIMITED = 7, 1  # the byte, and its bit: the rate is what there was to send, not what the link bears
_MIN_ROUND_TRIP = 148  # microseconds
_DELIVERY_RATE = 160  # bytes a second


def measured(name: str, connection: socket.socket) -> MeasuredLink | None:
    """Of the connection to the participant of that name; None where the kernel doesn't say."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES)
    except (OSError, AttributeError):  # closed, or not Linux
        return None
    if len(info) < _BYTES:
        return None
    byte, bit = _APP_LIMITED
    (round_trip_us,) = struct.unpack_from("=I", info, _MIN_ROUND_TRIP)
    (rate,) = struct.unpack_from("=Q", info, _DELIVERY_RATE)
    return MeasuredLink(name=name, round_trip_us=round_trip_us, bytes_a_second=None if info[byte] & bit else rate)
