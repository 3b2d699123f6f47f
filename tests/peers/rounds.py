"""Runs engines in turn, each in a process of its own, and says what came out: speeds, ratios, peak memory."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Engine:
    """One way to do the work: `command(batch)` is its command line."""

    name: str
    command: object
    environment: dict = field(default_factory=dict)
    # A failure is recorded and does not end the benchmark.
    is_optional: bool = False
    # So slow that one round must do.
    is_once: bool = False


class Failed(Exception):
    """An engine's process ended badly; the text is its last line on stderr."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, environment=None):
    """The JSON object that a process prints, with its peak resident memory as the kernel counted it."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True,
                                   env=os.environ | (environment or {}))
        lines = process.stdout.read().splitlines()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise Failed((errors.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    bytes_of_unit = 1 if sys.platform == "darwin" else 1024
    return json.loads(lines[-1]) | {"peak_memory_mb": round(usage.ru_maxrss * bytes_of_unit / 2**20)}


def in_turn(engines, batches, n_rounds, peak):
    """All runs, raw, and why an engine is missing: round by round, batch by batch, one engine after the other.

    `peak(threads)` measures the machine once a round, so that a share of it is of the same minute.
    """
    rounds, missing = [], {}
    for index in range(n_rounds):
        runs, peaks = [], {n: peak(n) for n in (1, 2)}
        for batch in batches:
            for engine in engines:
                if engine.name in missing or (engine.is_once and index > 0):
                    continue
                try:
                    found = run(engine.command(batch), engine.environment)
                except Failed as failed:
                    if not engine.is_optional:
                        raise Failed(f"{engine.name}: {failed}") from failed
                    missing[engine.name] = str(failed)
                    say(f"{engine.name} is left out: {failed}")
                    continue
                speed = batch / median(found["seconds"])
                runs.append({"engine": engine.name, "recordings_per_s": speed} | found)
                say(f"round {index + 1}/{n_rounds}, batch {batch}, {engine.name}: {speed:.2f} recordings/s, "
                    f"{found['peak_memory_mb']} MB")
        rounds.append({"peak_gflops": peaks, "runs": runs})
    return rounds, missing


def of(rounds, engine, batch):
    """One engine's runs with one size of batch, a round each."""
    return [run for one in rounds for run in one["runs"] if (run["engine"], run["batch"]) == (engine, batch)]


def ratio(rounds, ours, theirs, batch):
    """How many times faster `ours` is: the median over the rounds of the ratio within a round; None without them."""
    pairs = zip(of(rounds, ours, batch), of(rounds, theirs, batch))
    ratios = [own["recordings_per_s"] / other["recordings_per_s"] for own, other in pairs]
    return round(median(ratios), 3) if ratios else None


def share_of_peak(rounds, engine, batch, n_threads):
    """Direct-convolution arithmetic per second over the peak measured in the same round, median over the rounds."""
    peaks = [one["peak_gflops"][n_threads]["gflops"] for one in rounds]
    done = [run["recordings_per_s"] * run["gflop_per_recording"] for run in of(rounds, engine, batch)]
    return round(median(rate / peak for rate, peak in zip(done, peaks)), 4)


def figures(rounds, engine, batch):
    """Median and range of an engine's speed over the rounds, and its largest memory."""
    runs = of(rounds, engine, batch)
    if not runs:
        return None
    speeds = [run["recordings_per_s"] for run in runs]
    return {"recordings_per_s": round(median(speeds), 2), "slowest": round(min(speeds), 2),
            "fastest": round(max(speeds), 2), "peak_memory_mb": max(run["peak_memory_mb"] for run in runs)}
