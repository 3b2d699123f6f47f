"""What the Python engines share: their arguments, the inputs, and the clock of benches/engine/timing.rs.

An engine is called as `train_pytorch.py FOLDER BATCH SECONDS THREADS` and prints one JSON object.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

# The paper's network, `NetworkSpec::paper(128, 508)`.
N_MELS, N_FRAMES, WINDOW, HOP = 128, 508, 128, 64
N_WINDOWS = 1 + (N_FRAMES - WINDOW) // HOP
BLOCKS = [(64, 2), (64, 4), (128, 4), (128, 4)]
UNITS, CLASSES, DROPOUT = 256, 7, 0.2
EPSILON, KEEP = 1e-3, 0.99
RATE, MOMENTUM = 0.01, 0.8


class Engine:
    """One engine's run."""

    def __init__(self):
        folder, batch, seconds, threads = sys.argv[1:]
        self.folder, self.batch, self.seconds, self.n_threads = Path(folder), int(batch), float(seconds), int(threads)

    def log_mel(self, n):
        """The first `n` recordings, [n, mels, frames]."""
        values = np.fromfile(self.folder / "log_mel.f32", dtype="<f4")
        return values.reshape(-1, N_MELS, N_FRAMES)[:n].copy()

    def labels(self):
        return np.arange(self.batch, dtype=np.int64) % CLASSES

    def time(self, step, warm_up=3, at_least=5):
        """Seconds of each call of `step`, for the time asked for."""
        for _ in range(warm_up):
            step()
        begun, found = time.perf_counter(), []
        while len(found) < at_least or time.perf_counter() - begun < self.seconds:
            clock = time.perf_counter()
            step()
            found.append(time.perf_counter() - clock)
        return found

    def report(self, seconds, version, **more):
        own = {"batch": self.batch, "n_threads": self.n_threads, "seconds": seconds, "version": version}
        print(json.dumps(own | more))
