"""Small data that several tests of training fit."""

import numpy as np

N = 90


def vectors(seed=0):
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(N, d)) for name, d in (("a", 4), ("t", 3), ("v", 5))}
    return X, X["a"][:, 0] + X["t"][:, 0] * X["v"][:, 0]


def sequences(lengths=True):
    rng = np.random.default_rng(1)
    X = {"a": rng.normal(size=(N, 5, 3)), "t": rng.normal(size=(N, 4, 2))}
    if lengths:
        X["a"][::3, 3:] = np.nan
    return X, (X["a"][:, 0, 0] > 0).astype(int)
