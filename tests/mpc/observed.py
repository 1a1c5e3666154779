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
        self.simulation = Simulation(agreed, wire=self.listener.wire)
        self.fits = self.simulation.run(self._party)

    def _party(self, runtime):
        self.listener.introduce(runtime)
        return train(self.agreed, *own(self.agreed, runtime.rank, self.X, self.y), runtime)

    def void(self, **windows):
        """Which slots had a rejected opening under one of these names, as only the parties can know."""
        openings = [self.listener.rejected(name, window) for name, window in windows.items()]
        return [any(slot) for slot in zip(*openings, strict=True)]
