"""One party's part of one session, as a process of its own: started by the node with exec, gone when the session ends.

It holds no identity key and no vault key; it reads one data set with the key that it was given, speaks to its peers and
the dealer, and asks the node before each disclosure. Nothing that it prints reaches anybody but the node.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpc.errors import DisclosureRefused, PeerLost, PrivityError, ProtocolError
from parties import vault
from parties.contract import Contract, parse_contract
from parties.dealer_link import connect_dealer
from parties.errors import ContractError, DataError, PartnerError
from parties.job import Advanced, Answer, Broken, Done, Intent, Matched, Outcome, PartyJob, parse_job
from parties.links import Greeting, TlsChannel, dial, parse_greeting, secure, tune
from parties.preparation import Standardiser, split
from parties.sealing import DataKey
from parties.tables import Table, features, labels
from parties.tls import TlsKey

if TYPE_CHECKING:
    from mpc.channel import Link
    from mpc.disclosure import Disclosure
    from mpc.keys import SessionKeys
    from mpc.runtime import Progress

CONNECT_S = 30.0  # for peers, whose workers start when this one does
DEALER_S = 8.0  # for the dealer, which listens already
HANDSHAKE_S = 5.0
PROGRESS_S = 0.1  # between two reports that tell no loss
IMPOSTOR_S = 5.0  # how long the real peer is waited for after somebody else called in its name


class Voice:
    """JSON lines to the node, and its answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints goes to the operational log

    def say(self, report: Intent | Matched | Advanced | Done | Broken) -> None:
        with self._lock:
            self._out.write(report.model_dump_json() + "\n")
            self._out.flush()

    def ask(self, intent: Intent) -> None:
        """Return once the node has recorded the intent. Raises: DisclosureRefused."""
        self.say(intent)
        line = sys.stdin.readline()
        if not line:
            raise DisclosureRefused("the node went away before it recorded a disclosure; nothing was opened")
        answer = Answer.model_validate_json(line)
        if answer.refused:
            raise DisclosureRefused(answer.refused, action="nothing was opened; see the node's audit log")


class NodeLedger:
    """mpc.disclosure.Ledger: the program's own count first, then the node's record."""

    def __init__(self, contract: Contract, voice: Voice) -> None:
        from mpc.disclosure import ProgramLedger

        self._names = [party.name for party in contract.parties]
        self._voice = voice
        self._inner = ProgramLedger(contract.program, self._record)

    def permit(self, disclosure: Disclosure) -> None:
        self._inner.permit(disclosure)

    def _record(self, disclosure: Disclosure) -> None:
        recipients = disclosure.recipients
        recipient = "session" if recipients == "session" else f"party:{self._names[recipients[0]]}"
        self._voice.ask(Intent(name=disclosure.name, recipient=recipient, values=disclosure.values))


def connect_peers(job: PartyJob, contract: Contract, own: TlsKey, deadline: float) -> TlsChannel:
    """A channel to every peer: of two parties the later in the contract's list dials."""
    rank = contract.rank(job.name)
    peers: dict[int, tuple[str, ssl.SSLSocket]] = {}
    for other in range(rank):
        name = contract.parties[other].name
        greeting = Greeting(contract.digest, job.epoch, job.name)
        raw = dial(job.approvals[name].endpoint, greeting, name, deadline)
        peers[other] = (name, secure(raw, own, job.approvals[name], server=False))
    with socket.socket(fileno=job.sockets_fd) as inbox:
        _welcome(inbox, job, contract, own, peers, deadline)
    return TlsChannel(rank, peers, session=bytes.fromhex(contract.digest), epoch=job.epoch)


def _welcome(
    inbox: socket.socket,
    job: PartyJob,
    contract: Contract,
    own: TlsKey,
    peers: dict[int, tuple[str, ssl.SSLSocket]],
    deadline: float,
) -> None:
    """Let in every later party. Whoever calls in its name with another key is sent away, and it may still come."""
    impostor: PartnerError | None = None
    while len(peers) < len(contract.parties) - 1:
        try:
            rank, raw = _accept(inbox, contract, job, peers, deadline)
        except PeerLost as exc:
            raise impostor or exc from exc
        name = contract.parties[rank].name
        try:
            peers[rank] = (name, secure(raw, own, job.approvals[name], server=True, timeout_s=HANDSHAKE_S))
        except PartnerError as exc:
            impostor, deadline = exc, min(deadline, time.monotonic() + IMPOSTOR_S)
        except PeerLost:
            continue  # a call that was given up before the worker had started


def _accept(
    inbox: socket.socket,
    contract: Contract,
    job: PartyJob,
    have: Mapping[int, object],
    deadline: float,
) -> tuple[int, socket.socket]:
    """The next connection of a missing peer that the node hands over, with the caller's rank.

    Raises: PeerLost if none comes in time.
    """
    expected = range(contract.rank(job.name) + 1, len(contract.parties))
    missing = ", ".join(contract.parties[rank].name for rank in expected if rank not in have)
    while True:
        raw, greeting = _next_call(inbox, missing, deadline)
        ranks = {contract.parties[rank].name: rank for rank in expected if rank not in have}
        if greeting.caller in ranks and (greeting.session, greeting.epoch) == (contract.digest, job.epoch):
            raw.setblocking(True)
            tune(raw)
            with contextlib.suppress(OSError):
                raw.sendall(b"+")
                return ranks[greeting.caller], raw
        raw.close()  # a stranger's call, or one given up, ends here; the real peer can still come


def _next_call(inbox: socket.socket, missing: str, deadline: float) -> tuple[socket.socket, Greeting]:
    inbox.settimeout(max(0.1, deadline - time.monotonic()))
    try:
        line, descriptors, _, _ = socket.recv_fds(inbox, 256, 1)
    except TimeoutError as exc:
        raise PeerLost(missing, "did not connect in time") from exc
    if not descriptors:
        raise PeerLost(missing, "did not connect before the node closed the session")
    return socket.socket(fileno=descriptors[0]), parse_greeting(line)


def compare_ids(channel: TlsChannel, keys: SessionKeys, ids: tuple[str, ...], contract: Contract) -> None:
    """Every pair compares a keyed digest of its id list. Cost: 1 round, 40 bytes to each peer.

    Reveals: each party's row count, and whether the lists are equal.
    Raises: DataError with both counts if a peer's differs.
    """
    digest = hmac.new(keys.parties_key("ids"), digestmod="sha256")
    for record in ids:
        content = record.encode()
        digest.update(len(content).to_bytes(4, "little") + content)
    own = np.frombuffer(len(ids).to_bytes(8, "little") + digest.digest(), dtype="u1")
    peers = [rank for rank in range(channel.world) if rank != channel.rank]
    theirs = channel.exchange("ids", dict.fromkeys(peers, own), dict.fromkeys(peers, ("u1", own.shape)))
    for peer in peers:
        if theirs[peer].tobytes() != own.tobytes():
            count = int.from_bytes(theirs[peer].tobytes()[:8], "little")
            raise DataError(
                f"the record ids of {contract.parties[channel.rank].name} ({len(ids)} rows) and of "
                f"{contract.parties[peer].name} ({count} rows) are not the same",
                action="bring both files to the same records, then propose the session again",
            )


def load(job: PartyJob, contract: Contract) -> Table:
    """The data set that the contract names, decrypted in memory. Raises: VaultError, ContractError."""
    manifest = vault.Manifest.model_validate_json(job.manifest)
    if manifest.version != contract.party(job.name).data_version:
        raise ContractError(
            f"data set '{manifest.name}' is not in the version that the contract names",
            action="propose the session again",
        )
    key = DataKey(bytes.fromhex(job.data_key.get_secret_value()))
    return vault.read(Path(job.data_path), key, manifest)


def run(job: PartyJob, voice: Voice) -> None:
    """The session from data to result."""
    contract = parse_contract(job.contract.encode())
    own = TlsKey.from_pem(job.tls.key_pem.get_secret_value().encode(), job.tls.certificate)
    table = load(job, contract)
    party, bound = contract.party(job.name), float(1 << contract.preparation.clip_bits)
    train_rows, _ = split(table.ids, bytes.fromhex(contract.split.salt), contract.split.held_out)
    values = features(table, party.columns) if party.columns else np.zeros((table.rows, 0))
    standardiser = Standardiser.fit(values[train_rows], party.columns, bound)
    block = standardiser.apply(values[train_rows])
    mine = contract.label.party == job.name
    y = labels(table, contract.label.column, contract.label.positive)[train_rows] if mine else None
    if len(train_rows) != contract.program.rows:
        raise ContractError(f"{len(train_rows)} training rows are here, {contract.program.rows} in the contract")

    deadline = time.monotonic() + CONNECT_S
    dealer = job.approvals[contract.dealer.name]
    link = connect_dealer(dealer, contract.digest, job.epoch, own, time.monotonic() + DEALER_S)
    channel = connect_peers(job, contract, own, deadline)
    try:
        done = _train(contract, job.epoch, channel, link, (block, y), tuple(table.ids), voice)
        outcome = Outcome(
            columns=party.columns,
            standardised=tuple(float(value) for value in done.coefficients),
            original=standardiser.to_original(done.coefficients),
            intercept=done.intercept,
            losses=done.losses,
        )
        channel.finish()
        voice.say(done.report.model_copy(update={"outcome": outcome}))
    finally:
        channel.close()
        link.close()


class _Trained:
    """What a run gave, before it is put into the party's own units."""

    def __init__(self, fit: object, report: Done) -> None:
        from mpc.training import Fit

        if not isinstance(fit, Fit):
            raise ProtocolError("the engine returned no fit")
        self.coefficients, self.intercept, self.losses, self.report = (
            fit.coefficients,
            fit.intercept,
            fit.losses,
            report,
        )


def _train(
    contract: Contract,
    epoch: int,
    channel: TlsChannel,
    link: Link,
    data: tuple[np.ndarray, np.ndarray | None],
    ids: tuple[str, ...],
    voice: Voice,
) -> _Trained:
    from mpc.keys import agree
    from mpc.runtime import Runtime
    from mpc.training import train

    started = time.monotonic()
    digest = bytes.fromhex(contract.digest)
    keys = agree(channel, link, digest, epoch)
    compare_ids(channel, keys, ids, contract)
    voice.say(Matched(rows=len(ids), training_rows=contract.program.rows))

    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if progress.loss is None and progress.iteration < progress.of and time.monotonic() - said < PROGRESS_S:
            return
        said = time.monotonic()
        voice.say(
            Advanced(
                iteration=progress.iteration,
                of=progress.of,
                rounds=progress.rounds,
                bytes_sent=progress.bytes_sent,
                loss=progress.loss,
            )
        )

    ledger = NodeLedger(contract, voice)
    with Runtime(channel, link, keys, ledger, contract.program, digest, report) as runtime:
        fit = train(contract.program, *data, runtime)
        transcript = runtime.transcript
    counters = channel.counters
    done = Done(
        transcript=transcript.digest().hex(),
        openings=transcript.openings,
        words=transcript.words,
        rounds=counters.rounds,
        bytes_sent=counters.bytes_sent,
        seconds=time.monotonic() - started,
    )
    return _Trained(fit, done)


def broken(error: BaseException) -> Broken:
    """An error for the node. What is not one of ours is named by its type alone: its text could hold anything."""
    if isinstance(error, PrivityError):
        who = error.who if isinstance(error, PeerLost) else ""
        what, action, outward = (text[:2000] for text in (error.what, error.action, error.outward))
        return Broken(code=error.code, what=what, action=action, outward=outward, who=who)
    kind = type(error).__name__
    sentence = f"the worker met an unexpected {kind}"
    return Broken(code="worker", what=sentence, action="see the node's operational log", outward=sentence)


def main() -> None:
    """Read the job, run it, say how it ended. Exits 1 if it failed."""
    voice = Voice()
    try:
        job = parse_job(sys.stdin.buffer.readline())
        if job.role == "dealer":
            from parties.dealer_worker import deal

            deal(job, voice)
        else:
            run(job, voice)
    except Exception as exc:  # noqa: BLE001 - a process's end: the node hears of everything
        voice.say(broken(exc))
        if not isinstance(exc, PrivityError):
            import traceback

            traceback.print_tb(exc.__traceback__)  # places in the code, no values
        sys.exit(1)


if __name__ == "__main__":
    main()
