"""Reference numbers of calibration: the temperature from SciPy's minimiser, shrunk covariance and distances from scikit-learn.

    python3 -m venv venv && venv/bin/pip install scipy scikit-learn && venv/bin/python generate.py > reference.json

Inputs follow a recipe of integer arithmetic (SplitMix64) that the Rust test repeats, so only results are stored.
"""

import json

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.covariance import LedoitWolf

N_ITEMS, N_CLASSES = 400, 8
N_VECTORS, DIMS = 300, 12


def unit(seed, n):
    """Value i of a seed, uniform in [0, 1): `Seed::unit`."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def temperature(sharpness):
    """Probabilities are powers of uniform values; the label is the likeliest class in about two of three items."""
    powers = unit(1, N_ITEMS * N_CLASSES).reshape(N_ITEMS, N_CLASSES) ** sharpness
    probabilities = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    other = (unit(3, N_ITEMS) * N_CLASSES).astype(int)
    labels = np.where(unit(2, N_ITEMS) < 0.6, probabilities.argmax(1), other)
    logs = np.log(probabilities.astype(np.float64))

    def loss(log_temperature):
        return -log_softmax(logs / np.exp(log_temperature), axis=1)[np.arange(N_ITEMS), labels].mean()

    found = minimize_scalar(loss, bounds=np.log([0.1, 10.0]), method="bounded", options={"xatol": 1e-12})
    return {"sharpness": sharpness, "temperature": float(np.exp(found.x)), "loss": float(found.fun), "loss_at_1": float(loss(0.0))}


def distances():
    """Values of three classes with other means, mixed with their neighbours."""
    raw = unit(4, N_VECTORS * DIMS).reshape(N_VECTORS, DIMS)
    vectors = raw + 0.8 * np.roll(raw, 1, axis=1)
    groups = np.arange(N_VECTORS) % 3
    vectors[:, 0] += groups
    vectors = vectors.astype(np.float32).astype(np.float64)
    means = np.stack([vectors[groups == group].mean(0) for group in range(3)])
    centred = vectors - means[groups]
    scales = centred.std(0)
    fitted = LedoitWolf(assume_centered=True).fit(centred / scales)
    asked = vectors[:20] * 1.5
    squares = [[fitted.mahalanobis(((vector - mean) / scales)[None])[0] for mean in means] for vector in asked]
    return {"shrinkage": float(fitted.shrinkage_), "distances": [float(np.sqrt(min(row) / DIMS)) for row in squares]}


print(json.dumps({"temperatures": [temperature(s) for s in (0.7, 2.0, 6.0)], "domain": distances()}, indent=1))
