"""The fused engine's schedule in floating point: the same steps, penalties and momenta on a pooled table."""

import numpy as np
from sklearn import datasets

from mpc.scales import DATA_BITS, ITERATE_BITS, MOMENTUM_BITS


def pooled(agreed, X):
    """The joint table with the constant column, as the parties round it."""
    rounded = np.rint(X * 2.0**DATA_BITS) / 2.0**DATA_BITS
    return np.concatenate([rounded, np.ones((agreed.rows, agreed.width - agreed.columns))], axis=1)


def iterates(agreed, X, y):
    """Where each gradient is taken, and the result: (max_iter + 1, width)."""
    table = pooled(agreed, X)
    lift = 2.0 ** (agreed.state_bits - MOMENTUM_BITS)
    rate = agreed.models[0].residual_unit / 2.0**agreed.residual_shift * 2.0**DATA_BITS / lift
    penalty = agreed.models[0].ridge * 2.0**ITERATE_BITS / lift
    ahead = before = last_step = np.zeros(agreed.width)
    found = [ahead]
    for t in range(agreed.max_iter):
        step = rate * table.T @ (sigmoid(table @ ahead) - y)
        if t % agreed.models[0].ridge_every == 0:
            step[: agreed.columns] += penalty * ahead[: agreed.columns]
        mu = 0 if t + 1 == agreed.max_iter else (t * 64 // (t + 3)) / 64
        following = ahead - (1 + mu) * step + mu * last_step + mu * (ahead - before)
        ahead, before, last_step = following, ahead, step
        found.append(ahead)
    return np.array(found)


def losses(agreed, X, y):
    """The mean losses that are reported: of every so many iterations, where the gradient was taken."""
    found = iterates(agreed, X, y)[agreed.loss_every - 1 : agreed.max_iter : agreed.loss_every]
    z = pooled(agreed, X) @ found.T
    return (np.logaddexp(0, z) - y[:, None] * z).mean(axis=0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def standardised(name):
    """A table that ships with scikit-learn: standardised columns, clipped, and labels."""
    X, y = {
        "breast cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "digits": datasets.load_digits,
    }[name](return_X_y=True)
    y = {"breast cancer": y, "diabetes": y > 140, "digits": y == 8}[name].astype(np.int64)
    X = X[:, X.std(axis=0) > 0]
    return ((X - X.mean(axis=0)) / X.std(axis=0)).clip(-32, 32), y
