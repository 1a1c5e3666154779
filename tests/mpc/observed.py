"""A run in memory, and all that it showed."""

from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import own, table
from tests.mpc.listener import Listener


class Observed:
    """Trains while somebody listens on every wire; on a made-up table unless told otherwise."""

    def __init__(self, agreed, seed=1, training=None):
        self.agreed, self.listener = agreed, Listener()
        self.X, self.y = training or table(agreed, seed)
        self.simulation, self._transcripts = Simulation(agreed, wire=self.listener.wire), {}
        self.fits = self.simulation.run(self._party)

    def _party(self, runtime):
        self.listener.introduce(runtime)
        self._transcripts[runtime.rank] = runtime.transcript
        return train(self.agreed, *own(self.agreed, runtime.rank, self.X, self.y), runtime)

    @property
    def progress(self):
        """What the gateway is told on the way, but for the losses' values."""
        return [
            (each.iteration, each.of, each.rounds, each.bytes_sent, each.losses is None)
            for each in self.simulation.progress
        ]

    @property
    def account(self):
        """What the gateway is told of each party at the end: openings, words, rounds and bytes."""
        transcripts = [self._transcripts[rank] for rank in range(self.agreed.world)]
        counters = [channel.counters for channel in self.simulation.channels]
        return [
            (transcript.openings, transcript.words, counted.rounds, counted.bytes_sent)
            for transcript, counted in zip(transcripts, counters, strict=True)
        ]

    def void(self, **windows):
        """Which slots had a rejected opening under one of these names, as only the parties can know."""
        openings = [self.listener.rejected(name, window) for name, window in windows.items()]
        return [any(slot) for slot in zip(*openings, strict=True)]
