"""Keys of one epoch of a session: agreed inside mutual TLS, bound to the contract's digest and the epoch.

Each pair of parties shares one, all parties share one, and each party shares one with the dealer. The latter also takes
in an ML-KEM-768 secret: traffic recorded today stays masked when a classical key exchange is broken later.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from mpc.channel import Channel, Link
from mpc.commitment import SIGNATURE_BYTES, Chained, Commitments, Signer
from mpc.errors import ProtocolError
from mpc.randomness import KEY_BYTES, Entropy, Secret, Stream, Streams, SumStream, Words

_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_CIPHERTEXT_BYTES = 1088
DEALER_KEYS_BYTES = KEY_BYTES + _MLKEM_CIPHERTEXT_BYTES + SIGNATURE_BYTES  # what the dealer sends to each party
Sign = Callable[[int, bytes], bytes]  # a party's rank and a digest of the key shared with it; the dealer's signature


class DealtStreams:
    """What a party and the dealer both expand; nobody else can. Redacted in print."""

    def __init__(self, key: Secret) -> None:
        self.digest = key.derive("commitment").reveal()  # binds to the key, and tells nothing of it
        self.tuples = Streams(key.derive("tuples"))  # of the on-demand lane, by number
        self.slots = Streams(key.derive("slots"))  # of the lane that runs ahead, by number
        self.table = Streams(key.derive("table"))  # masks of labels, of their totals and of each block
        self.held_out = Streams(key.derive("held-out"))  # the same of held-out rows
        self.matrices = Streams(
            key.derive("matrices")
        )  # masks that later tuples build on, by the opening tuple's number

    def __repr__(self) -> str:
        return "DealtStreams(redacted)"


LABELS, TOTALS, TABLE = range(3)  # TABLE is of the first block; each further one has the next


class SessionKeys:
    """A party's keys for one epoch. Redacted in print."""

    def __init__(
        self, rank: int, parties: Secret, pairs: dict[int, Secret], dealer: Secret, dealer_signature: bytes
    ) -> None:
        """`dealer_signature`: the dealer's on `dealt.digest`, to be checked by whoever knows its key."""
        self._rank, self._parties, self._pairs = rank, parties, pairs
        self.dealt, self.dealer_signature = DealtStreams(dealer), dealer_signature

    def parties_key(self, purpose: str) -> bytes:
        """A key that all parties hold and neither dealer nor gateway does."""
        return self._parties.derive(purpose).reveal()

    def commitments(self, channel: Chained, entropy: Entropy, signer: Signer) -> Commitments:
        """What binds this party to what it sends over the channel; its rows' salt is drawn from `entropy`."""
        salt = entropy.fresh("block's salt")
        return Commitments(channel, self.dealt.digest, self.dealer_signature, salt, signer)

    def zero_streams(self, purpose: str) -> tuple[SumStream, SumStream]:
        """The two halves of a zero sharing between every pair: of peers before this party, and of those after it."""
        keys = {peer: key.derive(f"zero {purpose}") for peer, key in self._pairs.items()}
        before = [Stream(key) for peer, key in sorted(keys.items()) if peer < self._rank]
        after = [Stream(key) for peer, key in sorted(keys.items()) if peer > self._rank]
        return SumStream(before), SumStream(after)

    def refreshed(self, purpose: str, share: Words) -> Words:
        """The same value under fresh shares, which neither the dealer nor a peer can tell. Once a purpose."""
        before, after = self.zero_streams(purpose)
        return share + before.words(share.shape) - after.words(share.shape)

    def __repr__(self) -> str:
        return "SessionKeys(redacted)"


def _bind(material: bytes, digest: bytes, epoch: int, purpose: str) -> Secret:
    return Secret(material + digest + epoch.to_bytes(8, "little")).derive(purpose)


def agree(channel: Channel, dealer: Link, digest: bytes, epoch: int, entropy: Entropy | None = None) -> SessionKeys:
    """A party's side. Cost: 1 round, 64 bytes to each peer; two messages with the dealer.

    `entropy`: where its parts of the keys come from, if not the system.
    """
    entropy = entropy or Entropy()
    others = [peer for peer in range(channel.world) if peer != channel.rank]
    common = entropy.fresh("parties' key")
    own = {peer: entropy.fresh("pair's key") for peer in others}
    outgoing = {peer: np.frombuffer(common + own[peer], dtype="u1") for peer in others}
    incoming = channel.exchange("keys", outgoing, dict.fromkeys(others, ("u1", (2 * KEY_BYTES,))))
    theirs = {peer: incoming[peer].tobytes() for peer in others}
    contributions = b"".join(
        common if rank == channel.rank else theirs[rank][:KEY_BYTES] for rank in range(channel.world)
    )
    pairs = {}
    for peer in others:
        halves = sorted([(channel.rank, own[peer]), (peer, theirs[peer][KEY_BYTES:])])
        pairs[peer] = _bind(b"".join(half for _, half in halves), digest, epoch, "pair")
    parties = _bind(contributions, digest, epoch, "parties")
    if isinstance(channel, Chained):
        channel.sent.begin(parties.derive("sent").reveal())
    return SessionKeys(channel.rank, parties, pairs, *_with_dealer(dealer, digest, epoch, entropy))


def _with_dealer(dealer: Link, digest: bytes, epoch: int, entropy: Entropy) -> tuple[Secret, bytes]:
    """The key, and the dealer's signature on its digest."""
    mine = entropy.fresh("dealer's key")
    kem = MLKEM768PrivateKey.from_seed_bytes(entropy.fresh("ML-KEM", _MLKEM_SEED_BYTES))
    dealer.send(mine + kem.public_key().public_bytes_raw())
    reply = dealer.receive()
    if len(reply) != DEALER_KEYS_BYTES:
        raise ProtocolError("the dealer's key message is malformed", action="ask the dealer's operator for its version")
    theirs, ciphertext, signature = reply[:KEY_BYTES], reply[KEY_BYTES:-SIGNATURE_BYTES], reply[-SIGNATURE_BYTES:]
    return _bind(mine + theirs + kem.decapsulate(ciphertext), digest, epoch, "dealer"), signature


def unsigned(rank: int, digest: bytes) -> bytes:
    """In place of a dealer's signature, in tests and simulations."""
    return hashlib.blake2b(digest, salt=bytes([rank]), digest_size=SIGNATURE_BYTES).digest()


def agree_as_dealer(links: Sequence[Link], digest: bytes, epoch: int, sign: Sign = unsigned) -> list[DealtStreams]:
    """The dealer's side: each party's streams, by rank. It signs the digest of each key before the key is used."""
    streams = []
    for rank, link in enumerate(links):
        message = link.receive()
        if len(message) != KEY_BYTES + _MLKEM_PUBLIC_BYTES:
            raise ProtocolError(f"party {rank}'s key message is malformed", action="ask its operator for its version")
        mine = secrets.token_bytes(KEY_BYTES)
        shared, ciphertext = MLKEM768PublicKey.from_public_bytes(message[KEY_BYTES:]).encapsulate()
        streams.append(DealtStreams(_bind(message[:KEY_BYTES] + mine + shared, digest, epoch, "dealer")))
        link.send(mine + ciphertext + sign(rank, streams[-1].digest))
    return streams
