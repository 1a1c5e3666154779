"""One process of vanilla CrypTen, written as its users write it: secret tensors, `matmul`, `sigmoid`, an update.

The columns are shared by their owners and joined, labels come from party 0. Of Privity only the door that lets CrypTen
be imported on a newer torch is used; communication, randomness and dealer are CrypTen's own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import Pace, age, live
from benchmarks.works import LEARNING_RATE
from mpc.shim import crypten


def run(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    crypten.cfg.mpc.provider = "TTP"
    if job["rank"] == len(job["blocks"]):
        from crypten.mpc.provider import TTPServer

        TTPServer()  # until party 0 says that it is over
        return {}
    crypten.cfg.communicator.verbose = True  # it counts rounds and bytes
    crypten.init()
    startup, started = age(), time.perf_counter()
    X, y = _shared(job)
    rates, w = _descend(X, y, job["batch_rows"], job["iterations"])
    weights = w.get_plain_text().flatten().tolist()
    seconds = time.perf_counter() - started
    crypten.uninit()
    return rates | {"seconds": seconds, "startup_seconds": startup, "weights": [*weights, 0.0]}


def _shared(job: dict[str, Any]) -> tuple[Any, Any]:
    """The joint table and the labels, as secret tensors."""
    tables, rank, blocks = Path(job["tables"]), job["rank"], job["blocks"]
    labels = torch.from_numpy(np.load(tables / "labels.npy", allow_pickle=False)).float().unsqueeze(1)
    parts = []
    for owner, columns in enumerate(blocks):
        own = torch.empty(len(labels), columns)  # of another's block, only its shape
        if owner == rank:
            own = torch.from_numpy(np.load(tables / f"block-{rank}.npy", allow_pickle=False)).float()
        parts.append(crypten.cryptensor(own, src=owner))
    return crypten.cat(parts, dim=1), crypten.cryptensor(labels if rank == 0 else torch.empty_like(labels), src=0)


def _descend(X: Any, y: Any, batch_rows: int, iterations: int) -> tuple[dict[str, float], Any]:
    step, communicator = float(LEARNING_RATE) / batch_rows, crypten.communicator.get()
    w, begin, pace = crypten.cryptensor(torch.zeros(X.size(1), 1)), 0, Pace(iterations)
    communicator.reset_communication_stats()
    with crypten.no_grad():
        for done in range(1, iterations + 1):
            batch, labels = X[begin : begin + batch_rows], y[begin : begin + batch_rows]
            residuals = batch.matmul(w).sigmoid() - labels
            w = w - batch.t().matmul(residuals) * step
            begin = (begin + batch_rows) % (X.size(0) - X.size(0) % batch_rows)
            stats = communicator.get_communication_stats()
            pace.tick(done, stats["rounds"], stats["bytes"])
    return pace.report(), w


if __name__ == "__main__":
    live(run)
