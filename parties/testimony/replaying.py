"""A party's part of a session made again, inside the party: by its rows, the seed that was kept and what came in then.

The worker's own code runs, on a channel that has no peers. What it would send is held to what it sent, frame by frame,
and at each stage to what its node signed. Nothing is sent, told or stored; the verdict names a round, never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydantic import SecretStr

from mpc.channel import Channel, Link
from mpc.device import resolved
from mpc.errors import DisclosureRefused, PrivityError, ReplayDiffers, ReplayEnded
from mpc.randomness import Entropy, Secret
from mpc.replay import Replayed
from parties.agreement.kinds import AnyContract, parse_contract
from parties.agreement.match_plan import MatchingContract
from parties.agreement.prediction import PredictionContract
from parties.errors import VaultError
from parties.process.job import Advanced, Answer, Commit, Committed, Intent, KeySigned, PartyJob, Report, TlsMaterial
from parties.process.match_worker import match_on, own_ids
from parties.process.predicting import new_rows, predict_on
from parties.process.recording import NAME
from parties.process.running import load
from parties.process.stopwatch import Stopwatch
from parties.process.worker import prepare, train_on
from parties.sealing import DataKey, Digests, Unsealed, unseal
from parties.service.daemon import EPOCH
from parties.service.desk import models_of, replays_of, vault_of
from parties.service.home import Home
from parties.service.store import SessionStore
from parties.testimony.commitment import Commitment, payload_of, read, signature_of

Told = Callable[[int, int], None]  # iterations done, of how many
Record = Callable[[str], None]  # puts into the log that a session's data, and its model, are read once more


@dataclass(frozen=True)
class Verdict:
    """What a replay found; `equal` only if all was made again, and every chain is the one that was signed."""

    session: str
    equal: bool
    stages: int  # commitments that were made again as they were signed
    what: str  # in words
    round_number: int | None = None  # the first that differs
    name: str | None = None  # what is sent in it

    def as_dict(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "equal": self.equal,
            "stages": self.stages,
            "round": self.round_number,
            "name": self.name,
            "what": self.what,
        }


class _Quiet:
    """In place of a node: it says yes, as it did then, and holds commitments to what it signed then."""

    def __init__(self, contract: AnyContract, name: str, key: bytes, store: SessionStore, told: Told) -> None:
        self._contract, self._name, self._key, self._told = contract, name, key, told
        self._signed = store.commitments(contract.digest)
        self.stages = 0

    @property
    def all_signed(self) -> bool:
        """Whether every statement that is kept was made again."""
        return self.stages == sum(name == self._name for name, _ in self._signed)

    def say(self, report: Report) -> None:
        if isinstance(report, Advanced) and report.of:
            self._told(report.iteration, report.of)

    def ask(self, intent: Intent) -> None:
        """A disclosure that the contract names was recorded then. Raises: DisclosureRefused for any other."""
        if not any(
            (item.name, item.recipient) == (intent.name, intent.recipient) for item in self._contract.disclosures
        ):
            raise DisclosureRefused(f"the contract has no disclosure '{intent.name}' to {intent.recipient}")

    def request(self, report: Report) -> Answer:
        """Raises: NotSigned if this stage was signed otherwise."""
        match report:
            case Commit():
                return Answer(signature=self._signature(report).hex())
            case Committed() | KeySigned():
                return Answer()
        raise DisclosureRefused("a replay answers nothing else")

    def _signature(self, made: Commit) -> bytes:
        kept = self._signed.get((self._name, made.stage))
        if kept is None:
            raise NotSigned(f"no signature on stage {made.stage} is kept")
        fields = made.model_dump(exclude={"type"})
        statement = Commitment(session=self._contract.digest, epoch=EPOCH, name=self._name, **fields)
        if payload_of(read(Commitment, kept, self._key)) != payload_of(statement):
            raise NotSigned(f"at stage {made.stage} something else was signed than what the code makes")
        self.stages += 1
        return signature_of(kept)


class NotSigned(PrivityError):
    """What the code makes is not what was signed at a stage."""

    code = "replay"


def replay(home: Home, beginning: str, record: Record, told: Told = lambda *_: None) -> Verdict:
    """Make this party's part of the one session whose id begins so again; `record` has said that data are read.

    Raises: LifecycleError if there is none; VaultError if no recording of it is kept, it is over, or it was altered;
    ContractError if this home is the session's dealer's, or the data set is another than was agreed on.
    """
    name, store = home.settings.name, SessionStore(home.path("state.sqlite"))
    contract = parse_contract(store.get(beginning).contract.encode())
    contract.party(name)  # a dealer has no part to make again
    if not contract.replay_days:
        raise VaultError(
            f"the contract of session {contract.digest[:12]} keeps no recording",
            action="a plan asks for one by `replay_days` under [retention], a policy allows it by `max_replay_days`",
        )
    replays = replays_of(home)
    replays.kept(contract.digest)
    record(contract.digest)  # before any key is taken
    recording, digests = replays.opened(contract.digest)
    key = DataKey(bytes.fromhex(recording.key))
    quiet = _Quiet(contract, name, contract.party(name).key, store, told)
    with replays.tape(contract.digest).open("rb") as file:
        reel = Unsealed(_chunks(file, key, Digests(digests.version, digests.ciphertext), contract.digest))
        inner = Replayed(contract.rank(name), len(contract.parties), reel)
        entropy = Entropy(Secret(bytes.fromhex(recording.seed)))
        try:
            _again(_job(home, contract), contract, inner, inner.link(), quiet, entropy)
            left = reel.read(1)
            reel.finish()
        except ReplayDiffers as exc:
            return Verdict(contract.digest, False, quiet.stages, exc.what, exc.round_number, exc.name)
        except (ReplayEnded, NotSigned) as exc:
            return Verdict(contract.digest, False, quiet.stages, exc.what)
    if left or not quiet.all_signed:
        what = "more was sent, or signed, than the code makes"
        return Verdict(contract.digest, False, quiet.stages, what)
    return Verdict(contract.digest, True, quiet.stages, "all that was sent is equal to what was signed")


def _chunks(file: BinaryIO, key: DataKey, digests: Digests, session: str) -> Iterator[bytes]:
    """The recording, each chunk once it is authentic. Raises: VaultError if a byte of it is another."""
    try:
        yield from unseal(file, NAME, key, digests)
    except VaultError as exc:
        raise VaultError(
            f"the recording of session {session[:12]} was altered: it does not verify",
            action="restore it from a backup; as it is, it shows nothing of what was sent",
        ) from exc


def _again(
    job: PartyJob,
    contract: AnyContract,
    channel: Channel,
    link: Link,
    quiet: _Quiet,
    entropy: Entropy,
) -> None:
    watch = Stopwatch()
    if isinstance(contract, PredictionContract):
        predict_on(contract, EPOCH, channel, link, new_rows(job, contract), quiet, watch, entropy)
    elif isinstance(contract, MatchingContract):
        own = own_ids(contract, job.name, load(job, contract))
        match_on(contract, EPOCH, channel, link, own, quiet, watch, entropy)
    else:
        train_on(contract, EPOCH, channel, link, prepare(job, contract), quiet, watch, entropy, resolved("cpu"))


def _job(home: Home, contract: AnyContract) -> PartyJob:
    """What the worker was told then, as far as it needs it without peers."""
    party, vault, model = contract.party(home.settings.name), vault_of(home), None
    if isinstance(contract, PredictionContract):
        model = SecretStr(models_of(home).load(contract.model).part.model_dump_json())
    manifest = vault.manifest(party.data)
    return PartyJob(
        name=party.name,
        contract=contract.canonical().decode(),
        approvals={},
        epoch=EPOCH,
        tls=TlsMaterial(key_pem=SecretStr(""), certificate=""),
        inbox_fd=-1,
        data_key=SecretStr(vault.data_key(party.data).reveal().hex()),
        manifest=manifest.model_dump_json(),
        data_path=str(vault.path(manifest)),
        model=model,
    )
