"""Logistic regression by stock CrypTen operations: full-batch gradient descent with Nesterov's momentum.

About a hundred rounds an iteration; the yardstick for faster engines and correct for any number of parties.

BUG: CrypTen's truncation fails with probability |x| / 2**64 an element; the scales here keep that below 2**-24 an
opening, which over a long run on a large table is not nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mpc.disclosure import Disclosure
from mpc.errors import EngineError
from mpc.reference_program import Reference
from mpc.ring import Words
from mpc.runtime import Progress, Runtime
from mpc.scales import MOMENTUM_BITS
from mpc.shim import ArithmeticSharedTensor, MPCTensor

# log(1 + t) on 0 <= t <= 1 by least squares, constant term first; greatest error 2e-5
_LOG1P = (0.0000224, 0.9988743, -0.4902137, 0.2852674, -0.1315841, 0.0305048)


class SharedTable:
    """All parties' columns and the labels, secret-shared once."""

    def __init__(
        self, program: Reference, block: NDArray[np.float64], labels: NDArray[np.int64] | None, rank: int
    ) -> None:
        self._bits = program.fraction_bits
        whole = np.zeros((program.rows, program.columns))
        whole[:, program.held(rank)] = block
        X = torch.zeros(whole.shape, dtype=torch.int64)
        for part in program.blocks:
            X[part.place] = self._share(whole[part.place] if part.owner == rank else None, part.shape, part.owner)
        self.X = _ring(X, self._bits)  # (m, d)
        self.Xt = self.X.t()
        y = torch.zeros(program.rows, dtype=torch.int64)
        for strip in program.labels:
            mine = None if labels is None or strip.owner != rank else labels[strip.place].astype(np.float64)
            y[strip.place] = self._share(mine, (strip.count,), strip.owner)
        self.y = _ring(y, self._bits)

    def _share(self, values: NDArray[np.float64] | None, shape: tuple[int, ...], owner: int) -> torch.Tensor:
        tensor = None if values is None else torch.from_numpy(np.ascontiguousarray(values))
        share: torch.Tensor = ArithmeticSharedTensor(tensor, size=shape, precision=self._bits, src=owner).share
        return share


def _wrap(share: Any) -> Any:
    tensor = MPCTensor([])
    tensor._tensor = share  # noqa: SLF001 - CrypTen's own way to lift a share
    return tensor


def _ring(share: torch.Tensor, bits: int) -> Any:
    """A share at a scale, as CrypTen's tensor."""
    return _wrap(ArithmeticSharedTensor.from_shares(share, precision=bits))


def _truncated(share: torch.Tensor, divisor: int) -> Any:
    """A sharing of the value divided by a public integer, by CrypTen's truncation. Error: 1 in the last place."""
    return ArithmeticSharedTensor.from_shares(share.clone(), precision=0).div_(divisor).share


def sigmoid_and_softplus(z: Any, *, softplus: bool) -> tuple[Any, Any]:
    """1 / (1 + exp(-z)), and log(1 + exp(z)) if asked. One comparison serves both. |z| up to 500; error 4e-3."""
    negative = z._ltz()  # noqa: SLF001
    size = z * (1 - 2 * negative)
    t = size.neg().exp()
    upper = (t + 1).reciprocal()
    p = upper + negative * (1 - 2 * upper)
    if not softplus:
        return p, None
    series = t * _LOG1P[-1]
    for coefficient in _LOG1P[-2:0:-1]:
        series = (series + coefficient) * t
    return p, series + _LOG1P[0] + (size + z) * 0.5


class Weights:
    """Weights and intercept on shares, at the fine scale, with the last step for the momentum."""

    def __init__(self, program: Reference) -> None:
        self._program = program
        self.now = torch.zeros(program.columns + 1, dtype=torch.int64)
        self._ahead = self.now.clone()
        self._penalised = torch.ones_like(self.now)
        self._penalised[-1] = 0  # the intercept, last

    def ahead(self) -> torch.Tensor:
        """Where the gradient is taken, at the coarse scale."""
        ahead: torch.Tensor = _truncated(self._ahead, 1 << self._program.fine_bits)
        return ahead

    def step(self, gradient: torch.Tensor, iteration: int) -> None:
        """One step of Nesterov's method with momentum t / (t + 3)."""
        program = self._program
        if not program.fit_intercept:
            gradient = gradient * torch.tensor([1] * program.columns + [0])
        data = _truncated(gradient * program.gradient_weight, 1 << program.gradient_shift)
        ridge = _truncated(self._ahead * self._penalised * program.ridge_weight, 1 << program.ridge_shift)
        new = self._ahead - data - ridge
        momentum = (iteration << MOMENTUM_BITS) // (iteration + 3)
        self._ahead = new + _truncated((new - self.now) * momentum, 1 << MOMENTUM_BITS)
        self.now = new


class Fitter:
    """One run: `step` iterates, `loss` is the last step's mean training loss as a share of one word."""

    def __init__(
        self, program: Reference, block: NDArray[np.float64], labels: NDArray[np.int64] | None, rank: int
    ) -> None:
        self._program = program
        self._table = SharedTable(program, block, labels, rank)
        self.weights = Weights(program)

    def step(self, iteration: int, *, loss: bool) -> Words | None:
        """One iteration. Returns a share of the mean loss at the fraction's scale, if asked."""
        bits, table = self._program.fraction_bits, self._table
        ahead = self.weights.ahead()
        z = table.X.matmul(_ring(ahead[:-1], bits)) + _ring(ahead[-1:], bits)
        p, softplus = sigmoid_and_softplus(z, softplus=loss)
        residual = p - table.y
        share: Words | None = None
        if loss:
            total = (softplus - table.y * z).sum()
            share = _truncated(total.share.reshape(1), self._program.rows).numpy()
        gradient = table.Xt.matmul(residual).share
        self.weights.step(torch.cat([gradient, residual.sum().share.reshape(1)]), iteration)
        return share


def run(
    program: Reference, block: NDArray[np.float64], labels: NDArray[np.int64] | None, runtime: Runtime
) -> tuple[Words, list[tuple[float, ...]]]:
    """Train. Returns shares of the weights, (d, 1), scale 2**(fraction_bits + fine_bits), and the disclosed losses."""
    fitter = Fitter(program, block, labels, runtime.rank)
    losses: list[tuple[float, ...]] = []
    counters = runtime.channel.counters
    for iteration in range(program.max_iter):
        asked = bool(program.loss_every) and iteration % program.loss_every == 0
        share = fitter.step(iteration, loss=asked)
        if share is not None:
            losses.append((_disclosed_loss(program, share, runtime),))
        told = losses[-1] if asked else None
        runtime.on_progress(Progress(iteration + 1, program.max_iter, counters.rounds, counters.bytes_sent, told))
    weights: Words = fitter.weights.now.numpy()[:, None]
    return weights if program.fit_intercept else weights[:-1], losses


def _disclosed_loss(program: Reference, share: Words, runtime: Runtime) -> float:
    opened = runtime.discloser.open(Disclosure("loss", "session", 1), share)
    if opened is None:
        raise EngineError("a disclosure to the session was not opened here")
    return float(opened[0]) / (1 << program.fraction_bits)
