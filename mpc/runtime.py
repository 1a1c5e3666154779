"""Starts CrypTen on our transport, dealer and randomness. The only module that touches CrypTen's globals.

The globals hold proxies that look up this thread's runtime, so a worker process has one and a simulation one a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch

from mpc.agenda import Agenda
from mpc.channel import Channel, Link
from mpc.commitment import Chained, Commitments, Unsigned
from mpc.communicator import ChannelCommunicator
from mpc.disclosure import Discloser, Ledger
from mpc.errors import EngineError, UnsupportedVersion
from mpc.keys import SessionKeys
from mpc.prediction_program import Computed
from mpc.provider import NAME, DealerProvider
from mpc.randomness import Entropy, Secret, Stream, Words
from mpc.requests import EXP_SQUARINGS, RECIPROCAL_STEPS, Listed, listed
from mpc.scales import FRACTION_BITS
from mpc.shim import beaver, cfg, crypten
from mpc.stages import Stage
from mpc.transcript import Transcript

_CPU = torch.device("cpu")
_MASKED_PROTOCOLS = ("mul", "matmul", "square", "wraps", "AND", "B2A_single_bit")


_local = threading.local()


class Progress(NamedTuple):
    """How far a run is: what a party may tell the gateway. A tuple: one is made for each slot."""

    iteration: int
    of: int
    rounds: int
    bytes_sent: int
    losses: tuple[float, ...] | None  # of each model


class Runtime:
    """CrypTen, started for this thread; a context manager."""

    def __init__(
        self,
        channel: Channel,
        dealer: Link,
        keys: SessionKeys,
        ledger: Ledger,
        program: Computed,
        digest: bytes,
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_stage: Callable[[Stage], None] = lambda _: None,
        *,
        requests: Listed | None = None,
        device: torch.device = _CPU,
        commitments: Commitments | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        """`requests`: what is asked for on demand, if it is not what the program lists.

        `device`: where products with the table are computed. `commitments`: those of what came before over this
        channel. `entropy`: where this party's fresh secrets come from, if not the system.
        """
        self.entropy = entropy or Entropy()
        if not isinstance(channel, Chained):  # of a kernel by itself: nothing that came before is bound
            channel = Chained(channel)
            channel.sent.begin(keys.parties_key("sent"))
        self.channel, self.program, self.on_progress, self.keys = channel, program, on_progress, keys
        self.device = device
        self.stage = on_stage  # called as each stage begins, by the schedule
        self.transcript = Transcript(keys.parties_key("transcript"), digest)
        self.discloser = Discloser(channel, keys, ledger, self.transcript)
        self.commitments = commitments or keys.commitments(channel, self.entropy, Unsigned())
        agenda = Agenda(program, requests or listed(program))
        self.provider = DealerProvider(channel.rank, channel.world, dealer, keys, agenda)
        self._before, self._after = keys.zero_streams("crypten")
        self._own = Stream(Secret(self.entropy.fresh("CrypTen")))

    @property
    def rank(self) -> int:
        return self.channel.rank

    def __enter__(self) -> Self:
        if getattr(_local, "runtime", None) is not None:
            raise EngineError("the engine runs in this thread already")
        _plug_in()
        _local.runtime = self
        torch.set_grad_enabled(False)  # a thread's setting
        ChannelCommunicator.install(ChannelCommunicator(self.channel, self.transcript, self.entropy))
        return self

    def __exit__(self, *exc: object) -> None:
        _local.runtime = None
        ChannelCommunicator.install(None)
        if exc[0] is None:
            self.provider.goodbye()

    def words(self, size: Any, bits: int, generator: str | None, *, xor: bool) -> Words:
        """What CrypTen's two generator functions draw, from the stream that the generator's name stands for."""
        shape = (size,) if isinstance(size, int) else tuple(size)
        if generator == "prev":
            return self._before.words(shape, bits, xor=xor)
        if generator == "next":
            return self._after.words(shape, bits, xor=xor)
        if generator in {None, "local"}:
            return self._own.words(shape, bits)
        raise EngineError(f"no stream stands for CrypTen's generator '{generator}'")


def current() -> Runtime:
    """This thread's runtime. Raises: EngineError if there is none."""
    found: Runtime | None = getattr(_local, "runtime", None)
    if found is None:
        raise EngineError("the engine is not started in this thread", action="enter mpc.runtime.Runtime first")
    return found


class _ProviderProxy:
    """CrypTen keeps one provider a process; this one hands every call to the thread's own."""

    NAME = NAME

    def __getattr__(self, name: str) -> Any:
        return getattr(current().provider, name)


def _ring(size: Any, ring_size: int = 2**64, generator: str | None = None, **_: Any) -> torch.Tensor:
    if ring_size != 2**64:
        raise EngineError("only whole ring elements are drawn")
    return torch.from_numpy(current().words(size, 64, generator, xor=False))


def _bits(size: Any, bitlength: int | None = None, generator: str | None = None, **_: Any) -> torch.Tensor:
    return torch.from_numpy(current().words(size, bitlength or 64, generator, xor=True))


def _masked(protocol: Callable[..., Any]) -> Callable[..., Any]:
    def opened_under_a_mask(*args: Any, **kwargs: Any) -> Any:
        with ChannelCommunicator.get().masked():
            return protocol(*args, **kwargs)

    opened_under_a_mask.__name__ = protocol.__name__
    return opened_under_a_mask


_plugged = threading.Event()
_plugging = threading.Lock()


def _plug_in() -> None:
    """Put the five hooks in place, once a process. Raises: UnsupportedVersion if one is missing."""
    with _plugging:
        if _plugged.is_set():
            return
        _replace(crypten.communicator, "DistributedCommunicator", ChannelCommunicator)
        for name in ("prev", "next", "local", "global"):
            crypten.generators[name][_CPU] = name
        for module in (crypten.common.rng, crypten.mpc.primitives.arithmetic):
            _replace(module, "generate_random_ring_element", _ring)
        for module in (crypten.common.rng, crypten.mpc.primitives.binary):
            _replace(module, "generate_kbit_random_tensor", _bits)
        providers = vars(crypten.mpc).get("__SUPPORTED_PROVIDERS")
        if providers is None:
            raise UnsupportedVersion("this crypten has no table of providers", action="install crypten 0.4.1")
        providers[NAME] = _ProviderProxy()
        for name in _MASKED_PROTOCOLS:
            _replace(beaver, name, _masked(getattr(beaver, name)))
        _pin_settings()
        torch.set_num_threads(1)
        _plugged.set()


def _replace(module: Any, name: str, value: Any) -> None:
    if not hasattr(module, name):
        raise UnsupportedVersion(
            f"{module.__name__} has no {name}, which the engine replaces", action="install crypten 0.4.1"
        )
    setattr(module, name, value)


def _pin_settings() -> None:
    """What CrypTen's sigmoid would set around itself is set for good: its settings are one table for all threads."""
    crypten.CrypTensor.set_grad_enabled(False)
    cfg.encoder.precision_bits = FRACTION_BITS  # conversions fall back to it, whatever a tensor's own scale is
    cfg.mpc.provider = NAME
    cfg.mpc.active_security = False
    cfg.functions.exp_method = "limit"
    cfg.functions.exp_iterations = EXP_SQUARINGS
    cfg.functions.reciprocal_method = "NR"
    cfg.functions.reciprocal_nr_iters = RECIPROCAL_STEPS
    cfg.functions.reciprocal_all_pos = True
    cfg.functions.reciprocal_initial = 0.75
