"""The dealer's part of one session, as a process of its own; the daemon relays its bytes to the parties."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from mpc.dealing import serve
from mpc.errors import PeerLost, ProtocolError
from parties.contract import parse_contract
from parties.dealer_link import MAX_REQUEST_BYTES
from parties.errors import ContractError
from parties.job import DealerJob, Done, PartyJob
from parties.voice import Voice, live

LENGTH = struct.Struct("<I")
TIMEOUT_S = 600.0


class RelayLink:
    """mpc.channel.Link over a Unix stream to the daemon: a length, then a message."""

    def __init__(self, stream: socket.socket, name: str) -> None:
        self._stream, self._name = stream, name
        stream.settimeout(TIMEOUT_S)

    def send(self, message: bytes) -> None:
        """Raises: PeerLost if the party's stream is gone."""
        try:
            self._stream.sendall(LENGTH.pack(len(message)) + message)
        except OSError as exc:
            raise PeerLost(self._name, "closed its stream") from exc

    def receive(self) -> bytes:
        """Raises: PeerLost if the party's stream is gone or silent, ProtocolError for a message beyond the limit."""
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if length > MAX_REQUEST_BYTES:
            raise ProtocolError(f"{self._name} sent {length} bytes where {MAX_REQUEST_BYTES} are the limit")
        return bytes(self._exactly(length))

    def _exactly(self, count: int) -> bytearray:
        content = bytearray(count)
        view = memoryview(content)
        while view:
            try:
                got = self._stream.recv_into(view)
            except OSError as exc:
                raise PeerLost(self._name, "kept silent") from exc
            if not got:
                raise PeerLost(self._name, "closed its stream")
            view = view[got:]
        return content

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in recv; close alone does not
        self._stream.close()


def deal(job: PartyJob | DealerJob, voice: Voice) -> None:
    """Serve one session to its end. Raises: ContractError if the job is a party's."""
    if not isinstance(job, DealerJob):
        raise ContractError("a party's job came to a dealer's process")
    contract = parse_contract(job.contract.encode())
    links = [
        RelayLink(socket.socket(fileno=descriptor), party.name)
        for descriptor, party in zip(job.link_fds, contract.parties, strict=True)
    ]
    started = time.monotonic()
    dealing = serve(contract.program, links, bytes.fromhex(contract.digest), job.epoch)
    for link in links:
        link.close()
    voice.say(Done(bytes_sent=dealing.bytes_sent, seconds=time.monotonic() - started))


if __name__ == "__main__":
    live(deal)
