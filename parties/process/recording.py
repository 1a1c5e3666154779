"""A worker's side of a recording: its wires go on a sealed tape, and its secrets come from the seed that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mpc.channel import Channel, Link
from mpc.randomness import Entropy, Secret
from mpc.replay import Recording as RecordingChannel
from mpc.replay import RecordingLink
from parties.durable import new_file, sync
from parties.errors import VaultError
from parties.process.job import PartyJob, Recording, TapeDigests
from parties.sealing import DataKey, Sealer

NAME = "replay"  # under which a tape is sealed; its key seals nothing else


class Untaped:
    """A run of which nothing is kept."""

    def __init__(self) -> None:
        self.entropy = Entropy()

    def wires(self, channel: Channel, link: Link) -> tuple[Channel, Link]:
        return channel, link

    def finish(self) -> None:
        """There is nothing to seal."""


class Tape:
    """One run's recording in the making: no more of it in memory than two chunks."""

    def __init__(self, file: BinaryIO, recording: Recording) -> None:
        self._file = file
        self._sealer = Sealer(file, NAME, DataKey(bytes.fromhex(recording.key)))
        self.entropy = Entropy(Secret(bytes.fromhex(recording.seed)))

    def wires(self, channel: Channel, link: Link) -> tuple[Channel, Link]:
        """The same, recorded."""
        return RecordingChannel(channel, self), RecordingLink(link, self)

    def write(self, content: bytes | memoryview) -> None:
        """mpc.replay.Tape. Raises: VaultError if the disk refuses; nothing goes on that was to be recorded."""
        with _writing():
            self._sealer.write(bytes(content))

    def finish(self) -> TapeDigests:
        """Seal the rest, durably. Raises: VaultError if the disk refuses."""
        with _writing():
            digests = self._sealer.finish()
            sync(self._file)
        return TapeDigests(version=digests.version, ciphertext=digests.ciphertext)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise VaultError(
            f"the recording for a replay can't be written: {exc.strerror}",
            action="make room, or agree on a session that keeps none",
            outward="a recording for a replay can't be written",
        ) from exc


@contextmanager
def recorded(job: PartyJob) -> Iterator[Tape | Untaped]:
    """The tape that the job asks for, if it asks for one."""
    if job.recording is None:
        yield Untaped()
        return
    recording = Recording.model_validate_json(job.recording.get_secret_value())
    with new_file(Path(recording.path)) as file:
        yield Tape(file, recording)
