"""The fused engine's two solvers against stock CrypTen's operations, on our transport and dealer, in one run.

    PYTHONPATH=. python benchmarks/engines.py [--table NAME] [--C C] [--parties N]

All parties and the dealer are threads of this process: seconds are of computing and Python alone, without a network.
"""

from __future__ import annotations

import argparse

from tests.mpc.optimum import TABLES, measure


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--table", choices=TABLES, default="diabetes")
    arguments.add_argument("--C", type=float, default=1.0)
    arguments.add_argument("--parties", type=int, default=2)
    chosen = arguments.parse_args()
    X, y = TABLES[chosen.table]()
    print(f"{chosen.table} {X.shape[0]} x {X.shape[1]}, C = {chosen.C:g}, {chosen.parties} parties")
    print("solver  iterations  coefficients (relative norm)  probabilities (greatest difference)")
    reference = measure(X, y, chosen.C, "reference", chosen.parties)
    print(reference, flush=True)
    for solver in ("nesterov", "newton"):
        outcome = measure(X, y, chosen.C, solver, chosen.parties)
        print(outcome, f"{solver} takes {outcome.ratio(reference)}", sep="\n", flush=True)


if __name__ == "__main__":
    main()
