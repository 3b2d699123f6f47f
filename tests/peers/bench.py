"""Benchmarks of sermill beside its peers, side by side in one run; `make bench-train` and `make bench-score` call it.

    bench.py train|score --peers FOLDER --library libonnxruntime.so [--rounds 5] [--seconds 10] [--out docs/benchmarks]

Every engine is a process of its own that loads, warms up, and times single steps. Engines run in turn, in rounds; a
ratio is the median over the rounds of the ratio within a round. The last line of stdout is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import record
import rounds
from rounds import Engine

HERE = Path(__file__).parent
# PyTorch's time is mostly the kernel's: with these, glibc never gives memory back.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184",
               "MALLOC_TOP_PAD_": "1073741824"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=["train", "score"])
    parser.add_argument("--peers", type=Path, help="what install.sh installed")
    parser.add_argument("--library", help="the ONNX Runtime library")
    parser.add_argument("--python", default=sys.executable, help="runs the peers [default: this one]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="timed in each run of an engine")
    parser.add_argument("--threads", type=int, default=2, choices=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    return parser.parse_args()


def build():
    """Builds benches/engine and gives its path."""
    line = ["cargo", "bench", "--locked", "--no-run", "--bench", "engine", "--message-format=json-render-diagnostics"]
    built = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    artifacts = [json.loads(line) for line in built.stdout.splitlines()]
    return next(one["executable"] for one in artifacts if one.get("target", {}).get("name") == "engine")


class Bench:
    """What both benchmarks share: the program, the inputs, how a peer is called."""

    def __init__(self, args, inputs):
        self.args, self.inputs, self.program = args, inputs, build()
        self.shape = rounds.run([self.program, "inputs", inputs])

    def own(self, kind, name, *more):
        seconds, threads = str(self.args.seconds), str(self.args.threads)
        return Engine(name, lambda batch: [self.program, kind, self.inputs, str(batch), seconds, threads, *more])

    def peer(self, name, script, folder, environment=None, **more):
        seconds, threads = str(self.args.seconds), str(self.args.threads)
        command = lambda batch: [self.args.python, str(HERE / script), self.inputs, str(batch), seconds, threads]
        libraries = {"PYTHONPATH": str(self.args.peers / folder)} if self.args.peers else {}
        return Engine(name, command, libraries | (environment or {}), **more)

    def peak(self, n_threads):
        return rounds.run([self.program, "peak", str(n_threads)])

    def run(self, engines, batches):
        """Runs everything; gives the result so far and the raw rounds."""
        raw, missing = rounds.in_turn(engines, batches, self.args.rounds, self.peak)
        ours = engines[0].name
        table = {}
        for batch in batches:
            table[str(batch)] = {engine.name: rounds.figures(raw, engine.name, batch) for engine in engines}
            for engine, one in table[str(batch)].items():
                if one is not None:
                    one["ratio"] = None if engine == ours else rounds.ratio(raw, ours, engine, batch)
        peaks = {str(n): round(max(one["peak_gflops"][n]["gflops"] for one in raw), 1) for n in (1, 2)}
        versions = {run["engine"]: run["version"] for one in raw for run in one["runs"]}
        result = {"bench": self.args.bench, "machine": record.machine(), "commit": record.commit(),
                  "n_rounds": self.args.rounds, "n_threads": self.args.threads, "inputs": self.shape,
                  "instructions": raw[0]["peak_gflops"][2]["instructions"], "peak_gflops": peaks, "missing": missing,
                  "versions": versions, "batches": table, "commands": [self.shown(e, batches[0]) for e in engines]}
        return result, raw

    def shown(self, engine, batch):
        """A command line as a reader would type it, without this machine's folders."""
        variables = [f"{key}={value}" for key, value in engine.environment.items() if key != "PYTHONPATH"]
        words = [os.path.basename(word) if os.sep in word else word for word in engine.command(batch)]
        return " ".join([*variables, "engine" if words[0].startswith("engine") else "python3", *words[1:]])


def train(bench):
    """One step of the paper's network: forward, backward, update, with dropout."""
    engines = [bench.own("train", "sermill"), bench.peer("pytorch_eager", "train_pytorch.py", "pytorch"),
               bench.peer("pytorch_tuned", "train_pytorch.py", "pytorch", KEEP_MEMORY),
               bench.peer("keras", "train_keras.py", "keras", is_optional=True, is_once=True)]
    result, raw = bench.run(engines, [16, 32])
    at_16 = result["batches"]["16"]
    gflop = rounds.of(raw, "sermill", 16)[0]["gflop_per_recording"]
    for name in ("pytorch_eager", "pytorch_tuned", "keras"):
        result[f"ratio_{name}"] = at_16[name] and at_16[name]["ratio"]
    result["gflop_per_recording"] = round(gflop, 4)
    result["share_of_peak"] = rounds.share_of_peak(raw, "sermill", 16, bench.args.threads)
    result["peak_memory_mb"] = at_16["sermill"]["peak_memory_mb"]
    return result, raw, [
        f"sermill at batch 16: {100 * result['share_of_peak']:.1f} % of the peak, as direct-convolution arithmetic "
        f"({gflop:.2f} GFLOP per recording: three passes over every convolution, two over the first) per second over "
        "the measured peak of as many threads. A kernel that needs fewer multiplications may pass 100 %.",
        "pytorch_tuned is the same program under an allocator that is told never to give memory back."]


def score(bench):
    """Inference on one exported model."""
    engines = [bench.own("score", "sermill_native", "native", bench.args.library),
               bench.own("score", "onnxruntime", "cpu", bench.args.library),
               bench.peer("onnxruntime_python", "score_onnxruntime.py", "onnxruntime", is_optional=True)]
    result, raw = bench.run(engines, [16, 1])
    runs = [run for one in raw for run in one["runs"]]
    own = rounds.of(raw, "sermill_native", 16)[0]["probabilities"]
    differences = [abs(a - b) for run in runs for a, b in zip(own, run["probabilities"], strict=True)]
    for batch in (16, 1):
        for name in ("onnxruntime", "onnxruntime_python"):
            one = result["batches"][str(batch)][name]
            result[f"ratio_{name}_batch_{batch}"] = one and one["ratio"]
        native = result["batches"][str(batch)]["sermill_native"]
        result[f"recordings_per_s_batch_{batch}"] = native["recordings_per_s"]
        result[f"share_of_peak_batch_{batch}"] = rounds.share_of_peak(raw, "sermill_native", batch, bench.args.threads)
    result["largest_difference"] = max(differences)
    for run in runs:
        del run["probabilities"]
    return result, raw, [f"Largest difference of a probability between engines, batches and rounds: "
                         f"{result['largest_difference']:.1e}, over {len(own)} probabilities."]


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        try:
            bench = Bench(args, str(Path(folder) / "inputs"))
            result, raw, notes = {"train": train, "score": score}[args.bench](bench)
        except rounds.Failed as failed:
            sys.exit(f"error: {failed}")
    folder = record.write(args.out, args.bench, result, raw, notes)
    print(json.dumps(result | {"folder": str(folder)}))


if __name__ == "__main__":
    main()
