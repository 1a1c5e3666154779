"""The dealer's part of one session, as a process of its own, to which the parties' workers connect."""

from __future__ import annotations

import time

from mpc.dealing import Epoch, serve
from parties.agreement.kinds import parse_contract
from parties.errors import ContractError
from parties.keys.tls import TlsKey
from parties.process.dealer_link import beating
from parties.process.job import AskedKey, DealerJob, Done, PartyJob
from parties.process.meeting import connect_parties
from parties.process.voice import Voice, live

CONNECT_S = 600.0  # for the parties, who read their data first


def deal(job: PartyJob | DealerJob, voice: Voice) -> None:
    """Serve one session to its end. Raises: ContractError if the job is a party's."""
    if not isinstance(job, DealerJob):
        raise ContractError("a party's job came to a dealer's process")
    contract = parse_contract(job.contract.encode())
    own = TlsKey.from_pem(job.tls.key_pem.get_secret_value().encode(), job.tls.certificate)
    links = connect_parties(job, contract, own, time.monotonic() + CONNECT_S)
    started = time.monotonic()
    with beating(links):
        names = [party.name for party in contract.parties]

        def sign(rank: int, digest: bytes) -> bytes:
            return bytes.fromhex(voice.request(AskedKey(party=names[rank], dealer_key=digest.hex())).signature)

        epoch = Epoch(links, bytes.fromhex(contract.digest), job.epoch, names, sign=sign)
        dealing = serve(contract.program, epoch)
    for link in links:
        link.close()
    voice.say(Done(bytes_sent=dealing.bytes_sent, seconds=time.monotonic() - started))


if __name__ == "__main__":
    live(deal)
