"""The engine as a scikit-learn estimator: three parties share the columns of a table of tumours.

    python examples/estimator.py

Parties and dealer are threads of this process, so nothing is hidden from whoever runs it: it is for trying things out,
before a plan is written. What a session of real nodes would find, and take in rounds and bytes, is the same.
"""

from __future__ import annotations

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mpc import SecureLogisticRegression


def main() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, new, y, answers = train_test_split(X, y, random_state=7)
    secure = SecureLogisticRegression(parties=3, C=1.0).fit(X, y)
    pooled = make_pipeline(StandardScaler(), LogisticRegression(C=1.0)).fit(X, y)
    *parties, dealer = secure.bytes_ / 1e6
    print(f"{secure.rounds_} rounds, {max(parties):.1f} MB from a party, {dealer:.1f} MB from the dealer")
    print(f"right on new rows: on shares {secure.score(new, answers):.3f}, pooled {pooled.score(new, answers):.3f}")
    print("secure  pooled")
    for one, other in zip(secure.predict_proba(new[:5])[:, 1], pooled.predict_proba(new[:5])[:, 1], strict=True):
        print(f"{one:.4f}  {other:.4f}")


if __name__ == "__main__":
    main()
