"""Reference numbers for src/metrics, from scikit-learn and SciPy.

    pip install scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
    python generate.py        # writes scores.json and versions.txt beside itself

Probabilities are multiples of 1/1024, so that float32 holds them exactly; none is 0, where libraries clip by other floors.
"""

import json
import pathlib
import platform

import numpy
import scipy
import scipy.stats
import sklearn
from sklearn.calibration import calibration_curve
from sklearn.metrics import (accuracy_score, brier_score_loss, f1_score, log_loss, precision_recall_fscore_support,
                             recall_score)

BINS = 10
HERE = pathlib.Path(__file__).parent


def draw(rng, n, n_classes, sharpness):
    """Labels, and probabilities of which the largest is right more often than not."""
    labels = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) * sharpness
    logits[numpy.arange(n), labels] += 0.8
    shares = numpy.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    grid = numpy.maximum(numpy.floor(shares * 1024).astype(int), 1)
    grid[numpy.arange(n), grid.argmax(axis=1)] += 1024 - grid.sum(axis=1)
    return labels, grid


def case(rng, n, n_classes, n_speakers, sharpness):
    labels, grid = draw(rng, n, n_classes, sharpness)
    speakers = numpy.sort(rng.integers(0, n_speakers, n))
    probabilities = grid / 1024.0
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    correct = (predicted == labels).astype(int)
    # scikit-learn gives no counts of the bins: the same edges, its own accuracies and confidences of each.
    edges = numpy.percentile(confidence, numpy.linspace(0, 100, BINS + 1))
    bins = numpy.searchsorted(edges[1:-1], confidence)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=BINS, strategy="quantile")
    counts = numpy.bincount(bins, minlength=BINS)
    weights = counts[counts > 0] / n
    floor = 0.0
    for number in range(BINS):
        own = confidence[bins == number]
        if len(own):
            hits = scipy.stats.poisson_binom(own)
            floor += sum(abs(k - own.sum()) * hits.pmf(k) for k in range(len(own) + 1)) / n
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=range(n_classes))
    return {
        "n_classes": n_classes,
        "labels": labels.tolist(),
        "speakers": speakers.tolist(),
        "probabilities_1024": grid.tolist(),
        "accuracy": accuracy_score(labels, predicted),
        "uar": recall_score(labels, predicted, average="macro"),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
        "log_loss": log_loss(labels, probabilities, labels=range(n_classes)),
        "brier": brier_score_loss(labels, probabilities, labels=range(n_classes), scale_by_half=False),
        "bin_n": counts.tolist(),
        "bin_accuracy": accuracy.tolist(),
        "bin_confidence": mean_confidence.tolist(),
        "ece": float((weights * abs(accuracy - mean_confidence)).sum()),
        "ece_floor": float(floor),
        "intervals": bootstrap(rng, labels, probabilities, speakers, edges),
    }


def bootstrap(rng, labels, probabilities, speakers, edges, n_resamples=20_000):
    """Percentile intervals over whole speakers, items drawn one by one, by numpy's generator."""
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    correct = (predicted == labels).astype(float)
    bins = numpy.searchsorted(edges[1:-1], confidence)
    target = numpy.eye(probabilities.shape[1])[labels]
    brier = ((probabilities - target) ** 2).sum(axis=1)
    loss = -numpy.log(probabilities[numpy.arange(len(labels)), labels])
    rows = [numpy.flatnonzero(speakers == speaker) for speaker in numpy.unique(speakers)]
    found = {name: [] for name in ("accuracy", "uar", "ece", "brier", "log_loss", "recall_0")}
    for _ in range(n_resamples):
        items = numpy.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        recalls = [correct[items][labels[items] == c].mean() for c in numpy.unique(labels[items])]
        found["accuracy"].append(correct[items].mean())
        found["uar"].append(numpy.mean(recalls))
        gaps = numpy.bincount(bins[items], weights=correct[items] - confidence[items], minlength=BINS)
        found["ece"].append(abs(gaps).sum() / len(items))
        found["brier"].append(brier[items].mean())
        found["log_loss"].append(loss[items].mean())
        found["recall_0"].append(correct[items][labels[items] == 0].mean())
    return {name: numpy.quantile(values, [0.025, 0.975]).tolist() for name, values in found.items()}


def main():
    rng = numpy.random.default_rng(12)
    cases = [case(rng, 240, 4, 8, 0.7), case(rng, 317, 7, 12, 1.6), case(rng, 23, 2, 5, 1.0)]
    (HERE / "scores.json").write_text(json.dumps(cases) + "\n")
    versions = [("python", platform.python_version()), ("scikit-learn", sklearn.__version__),
                ("scipy", scipy.__version__), ("numpy", numpy.__version__)]
    (HERE / "versions.txt").write_text("".join(f"{name} {version}\n" for name, version in versions))


main()
