"""One party of SPU, in SPU's own environment: one step of the descent, compiled once, run on secret batches.

The owner of a block makes its shares and sends them over SPU's link, before the clock starts. Bytes are what this
process writes to sockets, HTTP headers and answers included; rounds are not told by SPU.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from spu import Io, Runtime, libspu
from spu.utils import frontend

from benchmarks.measuring import Pace, age, live

LEARNING_RATE = 0.1
LINK_TIMEOUT_MS = 120_000
PROTOCOLS = {"spu-semi2k": libspu.ProtocolKind.SEMI2K, "spu-aby3": libspu.ProtocolKind.ABY3}


def step(blocks: list[jax.Array], labels: jax.Array, w: jax.Array) -> jax.Array:
    batch = jnp.concatenate(blocks, axis=1)
    residuals = jax.nn.sigmoid(batch @ w) - labels
    return w - batch.T @ residuals * (LEARNING_RATE / batch.shape[0])


class Shares:
    """Secret values of one party: how they come in and, at the end, out."""

    def __init__(self, link: Any, config: Any) -> None:
        self._link, self._io = link, Io(link.world_size, config)
        self.runtime = Runtime(link, config)

    def share(self, name: str, value: np.ndarray | None, owner: int) -> None:
        """Store a share of what the owner alone passes."""
        if self._link.rank == owner:
            shares = self._io.make_shares(value, libspu.Visibility.VIS_SECRET)
            for other, share in enumerate(shares):
                if other != owner:
                    self._link.send(other, _encode(share))
            self.runtime.set_var(name, shares[owner])
        else:
            self.runtime.set_var(name, _decode(self._link.recv(owner)))

    def opened(self, name: str) -> np.ndarray:
        """The value, at every party."""
        shares = self._link.all_gather(_encode(self.runtime.get_var(name)).hex())  # it takes text alone
        return self._io.reconstruct([_decode(bytes.fromhex(share)) for share in shares])


def _encode(share: Any) -> bytes:
    parts = [bytes(share.meta), *map(bytes, share.share_chunks)]
    return struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts)) + b"".join(parts)


def _decode(content: bytes) -> Any:
    (count,) = struct.unpack_from("<Q", content)
    begin, parts = 8 * (1 + count), []
    for length in struct.unpack_from(f"<{count}Q", content, 8):
        parts.append(content[begin : begin + length])
        begin += length
    share = libspu.Share()
    share.meta, share.share_chunks = parts[0], parts[1:]
    return share


def run(job: dict[str, Any]) -> dict[str, Any]:
    config = libspu.RuntimeConfig(protocol=PROTOCOLS[job["system"]], field=libspu.FieldType.FM64)
    link = _link(job)
    executables = _compiled(job["batch_rows"], job["blocks"], job["batches"])
    shares, startup = Shares(link, config), age()
    _share_table(job, shares, job["batches"])
    pace, started = Pace(job["iterations"]), time.perf_counter()
    for done in range(1, job["iterations"] + 1):
        shares.runtime.run(executables[(done - 1) % job["batches"]])
        pace.tick(done, bytes_sent=_bytes_written())
    seconds = time.perf_counter() - started
    weights = shares.opened("w").flatten().tolist()
    link.stop_link()
    rates = pace.report() | {"rounds_per_iteration": None}
    return rates | {"seconds": seconds, "startup_seconds": startup, "weights": [*weights, 0.0]}


def _link(job: dict[str, Any]) -> Any:
    description = libspu.link.Desc()
    for rank, address in enumerate(job["addresses"]):
        description.add_party(f"party-{rank}", address)
    description.recv_timeout_ms = LINK_TIMEOUT_MS
    return libspu.link.create_brpc(description, job["rank"])


def _compiled(rows: int, columns: list[int], batches: int) -> list[Any]:
    """The step on each batch: one compilation, other names of what goes in."""
    shapes = ([np.zeros((rows, each), np.float32) for each in columns], np.zeros((rows, 1), np.float32))
    names = [*(f"block-{owner}" for owner in range(len(columns))), "labels", "w"]
    secret = [libspu.Visibility.VIS_SECRET] * len(names)
    arguments = (*shapes, np.zeros((sum(columns), 1), np.float32))
    made, _ = frontend.compile(frontend.Kind.JAX, step, arguments, {}, names, secret, lambda _: ["w"])
    return [
        libspu.Executable(
            name="step",
            input_names=[*(f"{name}-{batch}" for name in names[:-1]), "w"],
            output_names=["w"],
            code=made.code,
        )
        for batch in range(batches)
    ]


def _share_table(job: dict[str, Any], shares: Shares, batches: int) -> None:
    tables, rank, rows = Path(job["tables"]), job["rank"], job["batch_rows"]
    for owner in range(len(job["blocks"])):
        own = np.load(tables / f"block-{rank}.npy", allow_pickle=False) if rank == owner else None
        for batch in range(batches):
            part = None if own is None else own[batch * rows : (batch + 1) * rows].astype(np.float32)
            shares.share(f"block-{owner}-{batch}", part, owner)
    labels = np.load(tables / "labels.npy", allow_pickle=False)[:, None].astype(np.float32) if rank == 0 else None
    for batch in range(batches):
        shares.share(f"labels-{batch}", None if labels is None else labels[batch * rows : (batch + 1) * rows], 0)
    start = np.zeros((sum(job["blocks"]), 1), np.float32)
    shares.share("w", start if rank == 0 else None, 0)


def _bytes_written() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


if __name__ == "__main__":
    live(run)
