"""What a party sent, bound before anything is disclosed and again at each segment's end.

A hash chain over the frames to each peer, and over the messages to the dealer, keyed by the parties' key: the dealer
knows the masks, and must not test guesses. Each party signs its chains; each peer compares the one to itself with what
it received, and ends the session where they differ. So a party is bound, by its signature and at every peer, to the
very words that it sent, and can be held to them when it replays its part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel, Expectation, Link, Wrapped
from mpc.errors import CommitmentsDiffer, EngineError
from mpc.frames import Array, payload_of
from mpc.ring import encode

DIGEST_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
STAGE_BYTES: Final = 4
STRIP_ROWS: Final = 1 << 15  # of a block, encoded at once
COMMON: Final = 3  # digests beside those of peers: to the dealer, of the block, of the key shared with the dealer


@lru_cache(maxsize=1 << 10)
def _form(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    return f"{name} {dtype.str} {shape!r}\n".encode()


class _Chain:
    """One direction between two; what comes before it has a key waits."""

    def __init__(self) -> None:
        self._hash: hashlib.blake2b | None = None
        self._waiting: list[bytes] = []

    def begin(self, key: bytes, purpose: str) -> None:
        self._hash = hashlib.blake2b(purpose.encode(), key=key, digest_size=DIGEST_BYTES)
        for content in self._waiting:
            self._hash.update(content)
        self._waiting.clear()

    def absorb(self, form: bytes, content: memoryview | bytes) -> None:
        if self._hash is None:
            self._waiting += [form, bytes(content)]
            return
        self._hash.update(form)
        self._hash.update(content)

    def digest(self) -> bytes:
        """Raises: EngineError before there is a key."""
        if self._hash is None:
            raise EngineError("nothing binds what is sent before keys are agreed")
        return self._hash.digest()


class Sent:
    """The chains of one party: to and from each peer, and to the dealer."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        peers = [peer for peer in range(world) if peer != rank]
        self._to = {peer: _Chain() for peer in peers}
        self._from = {peer: _Chain() for peer in peers}
        self._dealer = _Chain()

    def begin(self, key: bytes) -> None:
        """Key the chains by a key of the parties. Both ends of a direction know its chain by the same name."""
        for peer, chain in self._to.items():
            chain.begin(key, f"privity sent {self.rank} {peer}\n")
        for peer, chain in self._from.items():
            chain.begin(key, f"privity sent {peer} {self.rank}\n")
        self._dealer.begin(key, f"privity sent {self.rank} dealer\n")

    def frames(self, name: str, outgoing: Mapping[int, Array]) -> None:
        for peer, array in outgoing.items():
            self._to[peer].absorb(_form(name, array.dtype, array.shape), payload_of(array))

    def received(self, name: str, incoming: Mapping[int, Array]) -> None:
        for peer, array in incoming.items():
            self._from[peer].absorb(_form(name, array.dtype, array.shape), payload_of(array))

    def message(self, content: bytes) -> None:
        """To the dealer."""
        self._dealer.absorb(len(content).to_bytes(4, "little"), content)

    def to_peers(self) -> dict[int, bytes]:
        return {peer: chain.digest() for peer, chain in self._to.items()}

    def from_peers(self) -> dict[int, bytes]:
        return {peer: chain.digest() for peer, chain in self._from.items()}

    def to_dealer(self) -> bytes:
        return self._dealer.digest()


class Chained(Wrapped):
    """A channel that chains what goes over it."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.sent = Sent(channel.rank, channel.world)

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        """One round; see mpc.channel.Channel. What is sent is absorbed before it leaves."""
        self.sent.frames(name, outgoing)
        received = self._channel.exchange(name, outgoing, expecting)
        self.sent.received(name, received)
        return received


class ChainedLink:
    """A link to the dealer that chains what this party sends."""

    def __init__(self, link: Link, sent: Sent) -> None:
        self._link, self._sent = link, sent

    def send(self, message: bytes) -> None:
        self._sent.message(message)
        self._link.send(message)

    def receive(self) -> bytes:
        return self._link.receive()

    def close(self) -> None:
        self._link.close()


@dataclass(frozen=True)
class Commitment:
    """What a party binds itself to at the end of a stage; digests of DIGEST_BYTES."""

    stage: int  # counted from 1
    sent: dict[int, bytes]  # by the receiver's rank
    dealer: bytes  # to the dealer
    block: bytes  # salted, of its rows as they are used; of none before that
    dealer_key: bytes  # that of the key which it shares with the dealer

    def encode(self) -> bytes:
        chains = b"".join(self.sent[peer] for peer in sorted(self.sent))
        return self.stage.to_bytes(STAGE_BYTES, "little") + chains + self.dealer + self.block + self.dealer_key

    @classmethod
    def decode(cls, content: bytes, rank: int, world: int) -> Commitment:
        """Of the party of this rank. Requires: as many bytes as `size` says."""
        stage, rest = int.from_bytes(content[:STAGE_BYTES], "little"), content[STAGE_BYTES:]
        digests = [rest[start : start + DIGEST_BYTES] for start in range(0, len(rest), DIGEST_BYTES)]
        peers = [peer for peer in range(world) if peer != rank]
        return cls(stage, dict(zip(peers, digests, strict=False)), *digests[len(peers) :])


def size(world: int) -> int:
    """Bytes of a signed commitment."""
    return STAGE_BYTES + (world - 1 + COMMON) * DIGEST_BYTES + SIGNATURE_BYTES


class Signer(Protocol):
    """Who signs for this party, and knows the others' keys: at a worker, its node and the contract."""

    def sign(self, commitment: Commitment) -> bytes:
        """The signature, once the commitment is durably recorded. Shapes: -> SIGNATURE_BYTES."""
        ...

    def check(self, rank: int, commitment: Commitment, signature: bytes, *, equal: bool) -> None:
        """A peer's; `equal`: whether its chain is of what came here. Raises: PrivityError unless the peer signed it."""
        ...

    def check_dealer(self, dealer_key: bytes, signature: bytes) -> None:
        """Raises: PrivityError unless the dealer signed the digest of the key that this party shares with it."""
        ...


class Unsigned:
    """Signs by what anybody could compute and believes everything: for tests and simulations."""

    def sign(self, commitment: Commitment) -> bytes:
        return hashlib.blake2b(commitment.encode(), digest_size=SIGNATURE_BYTES).digest()

    def check(self, rank: int, commitment: Commitment, signature: bytes, *, equal: bool) -> None:
        """Anything is taken."""

    def check_dealer(self, dealer_key: bytes, signature: bytes) -> None:
        """Anything is taken."""


class Commitments:
    """One party's commitments of one run, in order."""

    def __init__(
        self, channel: Chained, dealer_key: bytes, dealer_signature: bytes, salt: bytes, signer: Signer
    ) -> None:
        self._channel, self._signer = channel, signer
        self._dealer_key, self._dealer_signature = dealer_key, dealer_signature
        self._block = hashlib.blake2b(b"privity block\n", key=salt, digest_size=DIGEST_BYTES)
        self._stage = 0

    def absorb(self, name: str, words: Array) -> None:
        """Absorb what this party brings, as the protocol takes it."""
        self._block.update(_form(name, words.dtype, words.shape))
        self._block.update(payload_of(words))

    def block(self, name: str, values: NDArray[np.float64], labels: NDArray[np.int64] | None, bits: int) -> None:
        """Absorb own rows as the engine encodes them. Shapes: values (rows, own columns), labels (rows,)."""
        self._block.update(_form(name, values.dtype, values.shape))
        for start in range(0, len(values), STRIP_ROWS):
            self._block.update(payload_of(encode(values[start : start + STRIP_ROWS], bits)))
        if labels is not None:
            self.absorb("labels", labels)

    def commit(self) -> None:
        """Sign what was sent so far, exchange signatures, and hold each peer's against what came from it.

        Cost: 1 round, `size` bytes to each peer.  Reveals: nothing (keyed and salted digests).
        Raises: CommitmentsDiffer if a peer signed that it sent something else than what came here.
        """
        rank, world = self._channel.rank, self._channel.world
        if not self._stage:
            self._signer.check_dealer(self._dealer_key, self._dealer_signature)
        self._stage += 1
        sent, came = self._channel.sent, self._channel.sent.from_peers()
        own = Commitment(self._stage, sent.to_peers(), sent.to_dealer(), self._block.digest(), self._dealer_key)
        signed = np.frombuffer(own.encode() + self._signer.sign(own), dtype="u1")
        peers = [peer for peer in range(world) if peer != rank]
        theirs = self._channel.exchange(
            "commitments", dict.fromkeys(peers, signed), dict.fromkeys(peers, ("u1", (size(world),)))
        )
        differing = [peer for peer in peers if not self._holds(peer, theirs[peer].tobytes(), came[peer])]
        if differing:
            raise CommitmentsDiffer(tuple(differing))

    def _holds(self, peer: int, content: bytes, came: bytes) -> bool:
        said, signature = content[:-SIGNATURE_BYTES], content[-SIGNATURE_BYTES:]
        commitment = Commitment.decode(said, peer, self._channel.world)
        equal = commitment.stage == self._stage and commitment.sent[self._channel.rank] == came
        self._signer.check(peer, commitment, signature, equal=equal)
        return equal
