"""mpc.commitment.Signer at a worker: its node signs, and checks what others signed by the keys in the contract."""

from __future__ import annotations

from mpc import commitment
from mpc.errors import CommitmentsDiffer, ProtocolError
from parties.agreement.kinds import AnyContract
from parties.process.job import Commit, Committed, KeySigned
from parties.process.voice import Speaking


class NodeSigner:
    """A worker holds no identity key and believes no signature by itself."""

    def __init__(self, contract: AnyContract, voice: Speaking) -> None:
        self._names = [party.name for party in contract.parties]
        self._voice = voice

    def sign(self, made: commitment.Commitment) -> bytes:
        return bytes.fromhex(self._voice.request(self._said(made)).signature)

    def check(self, rank: int, made: commitment.Commitment, signature: bytes, *, equal: bool) -> None:
        said = Committed(who=self._names[rank], commit=self._said(made), signature=signature.hex(), equal=equal)
        self._believe(said)
        if not equal:
            raise CommitmentsDiffer((rank,), self._names[rank])

    def check_dealer(self, dealer_key: bytes, signature: bytes) -> None:
        self._believe(KeySigned(dealer_key=dealer_key.hex(), signature=signature.hex()))

    def _believe(self, said: Committed | KeySigned) -> None:
        if refused := self._voice.request(said).refused:
            raise ProtocolError(refused, action="end the session, and keep the logs")

    def _said(self, made: commitment.Commitment) -> Commit:
        return Commit(
            stage=made.stage,
            sent={self._names[rank]: digest.hex() for rank, digest in made.sent.items()},
            dealer=made.dealer.hex(),
            block=made.block.hex(),
            dealer_key=made.dealer_key.hex(),
        )
