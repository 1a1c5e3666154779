"""The engine's solvers on shares, each against scikit-learn's optimum on the pooled table.

    python -m benchmarks.solvers [--tables NAME ...] [--C C ...] [--parties N] [--reference]

All parties and the dealer are threads of this process, with one thread of arithmetic each: seconds are of computing and
Python alone, without a network. Rounds times the network's delay, and bytes over its bandwidth, come on top.
"""

from __future__ import annotations

import argparse

from mpc.errors import ProgramError
from tests.mpc.optimum import TABLES, measure


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments.add_argument("--C", nargs="+", type=float, default=[1.0, 100.0])
    arguments.add_argument("--parties", type=int, default=2)
    arguments.add_argument("--reference", action="store_true", help="stock CrypTen operations too; that takes minutes")
    chosen = arguments.parse_args()
    solvers = ["newton", "nesterov", *(["reference"] if chosen.reference else [])]
    print("solver  iterations  coefficients (relative norm)  probabilities (greatest difference)")
    for name in chosen.tables:
        X, y = TABLES[name]()
        for C in chosen.C:
            print(f"\n{name} {X.shape[0]} x {X.shape[1]}, C = {C:g}")
            newton = None
            for solver in solvers:
                try:
                    outcome = measure(X, y, C, solver, chosen.parties)
                except ProgramError as refusal:
                    print(f"{solver} is refused: {refusal}", flush=True)
                    continue
                print(outcome, flush=True)
                if newton is None:
                    newton = outcome
                else:
                    print(f"newton takes {newton.ratio(outcome)}", flush=True)


if __name__ == "__main__":
    main()
