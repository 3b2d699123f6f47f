"""Reference numbers for two classifiers on the same items, from statsmodels and scipy.

    pip install "scipy==1.17.1" "statsmodels==0.15.0" "numpy==2.4.6"
    python generate.py

Writes, beside this script, `mcnemar.csv` (right in the first alone, right in the second alone, exact two-sided p, mid-p),
`bootstrap.csv` (bounds of paired differences by a percentile bootstrap over speakers) and `versions.txt`.

The mid-p is that of Fagerland, Lydersen and Laake (2013), formula of section "The McNemar mid-p test": the exact p less the
probability of what was counted; 1 less half of that probability where both counts are equal.

The items of the bootstrap are made with integers only, so that the tests rebuild them: 12 speakers of 21 items of 3 classes;
item i of speaker s has class i % 3; the first classifier is wrong where (7 s + 5 i) % 11 < 3, the second where
(3 s + 4 i + s * s) % 13 < 2 + s % 4; a wrong answer is the next class.
"""

import pathlib
import platform

import numpy as np
import scipy
import statsmodels
from scipy.stats import binom, bootstrap
from statsmodels.stats.contingency_tables import mcnemar

HERE = pathlib.Path(__file__).parent
PAIRS = [
    (0, 1), (1, 0), (0, 5), (0, 6), (3, 3), (1, 7), (10, 2), (25, 25), (40, 61), (121, 59), (86, 150),
    (500, 500), (480, 520), (5_000, 5_300), (50_000, 50_700), (0, 1_000), (7, 60_000),
]


def mid_p(b, c):
    if b == c:
        return 1.0 - 0.5 * binom.pmf(b, b + c, 0.5)
    return 2.0 * binom.cdf(min(b, c), b + c, 0.5) - binom.pmf(b, b + c, 0.5)


def items():
    rows = []
    for s in range(12):
        for i in range(21):
            truth = i % 3
            first = (truth + 1) % 3 if (7 * s + 5 * i) % 11 < 3 else truth
            second = (truth + 1) % 3 if (3 * s + 4 * i + s * s) % 13 < 2 + s % 4 else truth
            rows.append((s, truth, first, second))
    return np.array(rows)


def recalls(truth, said):
    return np.array([np.mean(said[truth == k] == k) for k in range(3)])


def differences(rows, drawn):
    """Accuracy, UAR and the recall of each class: second less first, over the speakers that were drawn."""
    part = np.concatenate([rows[rows[:, 0] == s] for s in drawn])
    _, truth, first, second = part.T
    by_class = recalls(truth, second) - recalls(truth, first)
    return np.array([np.mean(second == truth) - np.mean(first == truth), by_class.mean(), *by_class])


def main():
    lines = ["right_in_first,right_in_second,exact,mid"]
    for b, c in PAIRS:
        exact = mcnemar([[0, b], [c, 0]], exact=True).pvalue
        lines.append(f"{b},{c},{float(exact)!r},{float(mid_p(b, c))!r}")
    (HERE / "mcnemar.csv").write_text("\n".join(lines) + "\n")
    rows = items()
    speakers = np.arange(12)
    lines = ["measure,difference,low,high"]
    for at, name in enumerate(["accuracy", "uar", "recall_0", "recall_1", "recall_2"]):
        statistic = lambda drawn, at=at: differences(rows, drawn)[at]
        found = bootstrap(
            (speakers,), statistic, n_resamples=20_000, vectorized=False, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        whole = differences(rows, speakers)[at]
        lines.append(f"{name},{float(whole)!r},{float(found.low)!r},{float(found.high)!r}")
    (HERE / "bootstrap.csv").write_text("\n".join(lines) + "\n")
    (HERE / "versions.txt").write_text(
        f"python {platform.python_version()}\nstatsmodels {statsmodels.__version__}\n"
        f"scipy {scipy.__version__}\nnumpy {np.__version__}\n"
    )


main()
