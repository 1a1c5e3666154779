"""The example that Privity began with: two organisations, 1000 rows, 100 columns, 100 epochs of mini-batches.

    python examples/founding.py

Parties and dealer are threads of this process (`privity sandbox` runs them as real ones); nothing else is simulated:
the same engine, the same shares. Each party ends with the coefficients of its own columns and nothing else.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.linear_model import LogisticRegression

from mpc.partition import labels_of, vertical
from mpc.program import derive
from mpc.simulation import Simulation
from mpc.specification import Spec
from mpc.training import train

ROWS, COLUMNS, EPOCHS, BATCH = 1000, (60, 40), 100, 32


def main() -> None:
    generator = np.random.default_rng(7)
    X = generator.normal(size=(ROWS, sum(COLUMNS)))
    chance = 1 / (1 + np.exp(-X @ generator.normal(size=X.shape[1]) / 5))
    y = (generator.random(ROWS) < chance).astype(np.int64)
    parts = [np.ascontiguousarray(part) for part in np.split(X, [COLUMNS[0]], axis=1)]

    program = derive(
        Spec(
            solver="sgd",
            rows=ROWS,
            blocks=vertical(ROWS, COLUMNS),
            labels=labels_of(ROWS, 0),
            C="1.0",
            fit_intercept=True,
            max_iter=EPOCHS * ROWS // BATCH,
            loss_every=0,
            clip_bits=5,
            batch_rows=BATCH,
            learning_rate="0.01",
        )
    )
    started = time.perf_counter()
    fits = Simulation(program).run(lambda party: train(program, parts[party.rank], None if party.rank else y, party))
    seconds = time.perf_counter() - started

    weights, intercept = (
        np.concatenate([fit.models[0].coefficients for fit in fits]),
        fits[0].models[0].intercept or 0.0,
    )
    secure = 1 / (1 + np.exp(-(X[:10] @ weights + intercept)))
    pooled = LogisticRegression(C=1.0, max_iter=1000).fit(X, y)
    print(f"{program.max_iter} steps on batches of {BATCH} in {seconds:.1f} s, {fits[0].rounds} rounds")
    print("row  label  secure  optimum on the pooled table")
    for row, (mine, theirs) in enumerate(zip(secure, pooled.predict_proba(X[:10])[:, 1], strict=True)):
        print(f"{row:3d}{y[row]:7d}{mine:8.3f}{theirs:8.3f}")


if __name__ == "__main__":
    main()
