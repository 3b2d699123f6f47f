"""What the Python peers of `make bench-features` share: the front end's constants, the recordings, the pool, the clock.

A peer is called as `features_numpy.py CORPORA OUT PROCESSES`, makes spectrograms in chunks of recordings, one file a
chunk, and prints one JSON object. Loading libraries, plans and a first chunk lie before the clock.
"""

import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl

RATE, OFFSET, N_SAMPLES = 21_500, 0.5, 65_000
N_FFT, WINDOW, HOP, N_MELS, N_FRAMES, FLOOR = 512, 256, 128, 128, 508, 1e-10
SNRS_DB = (15, 30)
CHUNK = 64
WARM_UP = 8

# 0.54 - 0.46 cos(2 pi n / 255), equation 1 of the paper.
HAMMING = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))

_peer = {}


def conditioned(samples):
    """Mean 0, deviation 1 over the whole recording; then cut, or padded with zeros. And how much of it is recording."""
    out = np.zeros(N_SAMPLES, dtype=np.float32)
    n = min(len(samples), N_SAMPLES)
    mean = samples.mean(dtype=np.float64)
    out[:n] = samples[:n] - np.float32(mean)
    out[:n] *= np.float32(1 / samples.std(dtype=np.float64))
    return out, n


def with_noise(wave, generator):
    """White noise at a whole number of decibels below the wave, from a fast generator, in float32."""
    power = np.dot(wave, wave) / len(wave)
    noise = generator.standard_normal(len(wave), dtype=np.float32)
    noise *= np.float32(np.sqrt(power / 10 ** (generator.integers(*SNRS_DB) / 10)))
    noise += wave
    return noise


def mel_bank():
    """`[N_MELS, N_FFT / 2 + 1]`: HTK triangles of height 1, over N_FFT as the power is."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), N_MELS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return (np.maximum(0, np.minimum(rise, fall)) / N_FFT).astype(np.float32)


def _begin(spectrograms, out, first, barrier):
    out = Path(out)
    _peer.update(spectrograms=spectrograms, out=out)
    spectrograms(first)
    barrier.wait()


def _chunk(job):
    index, files = job
    with open(_peer["out"] / f"{index}.npy", "wb") as file:
        np.save(file, _peer["spectrograms"](files))
        file.flush()
        os.fsync(file.fileno())
    return os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(spectrograms, version):
    """`spectrograms(files)` gives [2 * files, N_MELS, N_FRAMES] float16: each recording and its noisy copy."""
    corpora, out, n_processes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    files = sorted(str(file) for file in corpora.rglob("*.wav"))
    jobs = [(at, files[at : at + CHUNK]) for at in range(0, len(files), CHUNK)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n_processes + 1)
    with context.Pool(n_processes, _begin, (spectrograms, out, files[:WARM_UP], barrier)) as pool:
        barrier.wait()
        clock = time.perf_counter()
        memory = dict(pool.imap_unordered(_chunk, jobs))
        seconds = time.perf_counter() - clock
    blas = {f"{one['internal_api']} {one.get('architecture', '')} x{one['num_threads']}".replace("  ", " ")
            for one in threadpoolctl.threadpool_info()}
    print(json.dumps({"recordings": len(files), "n_threads": n_processes, "seconds": seconds, "version": version,
                      "libraries": sorted(blas), "workers_mb": round(sum(memory.values()) / 1024)}))
