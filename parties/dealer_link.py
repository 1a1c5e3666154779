"""A worker's stream to the dealer: one gRPC stream over mutual TLS, whole messages each way.

The dealer's certificate is the one that its approval names, and the worker's the one in the party's own approval.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import grpc

from mpc.errors import PeerLost
from parties.contract import Approval
from parties.tls import TlsKey

SERVICE = "privity.Dealing"
METHOD = f"/{SERVICE}/Session"
SESSION_KEY, EPOCH_KEY = "privity-session", "privity-epoch"
MAX_MESSAGE_BYTES = 1 << 30  # of the dealer's, whose corrections are as large as what they correct
MAX_REQUEST_BYTES = 1 << 20  # of a party's: keys, and what it asks for
TIMEOUT_S = 120.0
CLOSE_S = 5.0
_KEPT_ALIVE = [
    ("grpc.keepalive_time_ms", 4000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.ping_timeout_ms", 4000),  # else an unanswered ping is waited for a minute
    ("grpc.http2.min_ping_interval_without_data_ms", 3000),  # at the dealer: pings so often are no attack
    ("grpc.http2.max_pings_without_data", 0),
]
OPTIONS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), *_KEPT_ALIVE]
DEALER_OPTIONS = [("grpc.max_receive_message_length", MAX_REQUEST_BYTES), *_KEPT_ALIVE]


class DealerLink:
    """mpc.channel.Link over gRPC."""

    def __init__(
        self, channel: grpc.Channel, name: str, metadata: tuple[tuple[str, str], ...], timeout_s: float = TIMEOUT_S
    ) -> None:
        self._channel, self._name, self._timeout_s = channel, name, timeout_s
        self._outbox: queue.Queue[bytes | None] = queue.Queue()
        self._inbox: queue.Queue[bytes | None] = queue.Queue(256)
        self._why = "closed its stream"
        call = channel.stream_stream(METHOD)
        self._stream = call(self._outgoing(), metadata=metadata)
        threading.Thread(target=self._read, daemon=True).start()

    def _outgoing(self) -> Iterator[bytes]:
        while (message := self._outbox.get()) is not None:
            yield message

    def _read(self) -> None:
        try:
            for message in self._stream:
                self._inbox.put(message)
        except grpc.RpcError as exc:
            self._why = f"ended the stream: {exc.details()}"
        self._inbox.put(None)

    def send(self, message: bytes) -> None:
        """Raises: PeerLost if the dealer is gone."""
        if not self._stream.is_active():
            raise PeerLost(self._name, self._why)
        self._outbox.put(bytes(message))

    def receive(self) -> bytes:
        """Raises: PeerLost if the dealer is gone or silent."""
        try:
            message = self._inbox.get(timeout=self._timeout_s)
        except queue.Empty as exc:
            raise PeerLost(self._name, f"kept silent for {self._timeout_s:.0f} s") from exc
        if message is None:
            self._inbox.put(None)  # it stays so, whoever asks again
            raise PeerLost(self._name, self._why)
        return message

    def close(self) -> None:
        """End the stream after what was sent, and wait for the dealer to end its half."""
        self._outbox.put(None)
        deadline = time.monotonic() + CLOSE_S
        while self._stream.is_active() and time.monotonic() < deadline:
            try:
                if self._inbox.get(timeout=0.2) is None:
                    break
            except queue.Empty:
                continue
        self._channel.close()


def connect_dealer(
    approval: Approval, session: str, epoch: int, own: TlsKey, deadline: float, timeout_s: float = TIMEOUT_S
) -> DealerLink:
    """Raises: PeerLost if the dealer does not answer in time, or shows another certificate."""
    credentials = grpc.ssl_channel_credentials(approval.certificate.encode(), own.key_pem, own.certificate.encode())
    options = [*OPTIONS, ("grpc.ssl_target_name_override", approval.name)]
    channel = grpc.secure_channel(approval.endpoint, credentials, options)
    try:
        grpc.channel_ready_future(channel).result(timeout=max(0.1, deadline - time.monotonic()))
    except grpc.FutureTimeoutError as exc:
        channel.close()
        raise PeerLost(approval.name, f"did not answer at {approval.endpoint} in time, or with another key") from exc
    return DealerLink(channel, approval.name, ((SESSION_KEY, session), (EPOCH_KEY, str(epoch))), timeout_s)
