"""The features stage beside librosa, torchaudio and numpy, on recordings; `make bench-features` calls it.

    bench_features.py --sermill PROGRAM --corpora FOLDER [--peers FOLDER] [--rounds 5] [--out docs/benchmarks]

Everybody does the whole stage: read, mix to mono, resample, skip, z-score, cut or pad, a noisy copy, two log-mel
spectrograms as float16, written and synced. sermill is the program itself on an ingested store, timed from its start to its
end; a Python peer is timed from its first chunk to its last, without the loading of libraries. Every file lies in the page
cache. Engines run in turn, in rounds; a ratio is the median over the rounds of the ratio within a round. The last line of
stdout is one JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import record
import rounds
from bench import KEEP_MEMORY, build

HERE = Path(__file__).parent
PEERS = ["librosa", "torchaudio", "numpy"]
# One thread of linear algebra a process, which is faster on small matrices than several, and as many processes as threads.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# What would choose other kernels than the machine's own.
FOREIGN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS")
# Two corpora, their recordings as they come from their source, and the paper's front end.
RECIPE = "pipelines/paper.toml"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sermill", type=Path, required=True)
    parser.add_argument("--corpora", type=Path, required=True, help="unpacked corpora, as for `sermill ingest`")
    parser.add_argument("--peers", type=Path, help="what install.sh installed")
    parser.add_argument("--python", default=sys.executable, help="runs the peers [default: this one]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--work", type=Path, help="where stores are made and removed [default: the system's folder]")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    return parser.parse_args()


class Bench:
    """Runs one engine at a time in a fresh folder."""

    def __init__(self, args, work):
        self.args, self.work, self.ingested = args, work, work / "ingested"
        for key in FOREIGN:
            os.environ.pop(key, None)
        rounds.run(self.program("ingest", self.ingested))

    def program(self, stage, store, *more):
        return [str(self.args.sermill), stage, "--pipeline", RECIPE, "--corpora", str(self.args.corpora), "--store",
                str(store), "--quiet", *more]

    def warm(self):
        """Reads every recording, so that whoever comes first does not pay for the disk."""
        for file in sorted(self.args.corpora.rglob("*.wav")):
            file.read_bytes()

    def sermill(self, n_threads):
        store = self.work / "store"
        shutil.copytree(self.ingested, store)
        os.sync()
        clock = time.perf_counter()
        found = rounds.run(self.program("features", store, "--threads", str(n_threads)))
        seconds = time.perf_counter() - clock
        shutil.rmtree(store)
        return {"seconds": seconds, "recordings": found["recordings"], "peak_memory_mb": found["peak_memory_mb"],
                "n_threads": n_threads}

    def peer(self, name, n_threads):
        folder = self.work / name
        folder.mkdir()
        os.sync()
        libraries = {"PYTHONPATH": str(self.args.peers / "features")} if self.args.peers else {}
        command = [self.args.python, str(HERE / f"features_{name}.py"), str(self.args.corpora), str(folder),
                   str(n_threads)]
        found = rounds.run(command, ONE_THREAD | KEEP_MEMORY | libraries)
        shutil.rmtree(folder)
        return found | {"peak_memory_mb": found["workers_mb"]}

    def rounds(self):
        """All runs, raw."""
        every = []
        for index in range(self.args.rounds):
            self.warm()
            runs = []
            for n_threads in self.args.threads:
                for name in ["sermill", *PEERS]:
                    run = self.sermill(n_threads) if name == "sermill" else self.peer(name, n_threads)
                    run |= {"engine": name, "recordings_per_s": run["recordings"] / run["seconds"]}
                    runs.append(run)
                    rounds.say(f"round {index + 1}/{self.args.rounds}, {n_threads} threads, {name}: "
                               f"{run['recordings_per_s']:.0f} recordings/s, {run['peak_memory_mb']} MB")
            every.append({"runs": runs})
        return every


def speeds(raw, name, n_threads):
    """One engine's recordings/s, a round each."""
    return [run["recordings_per_s"] for one in raw for run in one["runs"]
            if (run["engine"], run["n_threads"]) == (name, n_threads)]


def table(raw, threads):
    """By threads and engine: speed, range, ratio, memory."""
    found = {}
    for n_threads in threads:
        own = speeds(raw, "sermill", n_threads)
        found[str(n_threads)] = {}
        for name in ["sermill", *PEERS]:
            all_rounds = speeds(raw, name, n_threads)
            memory = max(run["peak_memory_mb"] for one in raw for run in one["runs"]
                         if (run["engine"], run["n_threads"]) == (name, n_threads))
            ratio = median(ours / theirs for ours, theirs in zip(own, all_rounds, strict=True))
            found[str(n_threads)][name] = {
                "recordings_per_s": round(median(all_rounds), 1), "slowest": round(min(all_rounds), 1),
                "fastest": round(max(all_rounds), 1), "peak_memory_mb": memory,
                "ratio": None if name == "sermill" else round(ratio, 2)}
    return found


def measure(bench, engine):
    """Everything that `result.json` holds, and the raw rounds."""
    args = bench.args
    raw = bench.rounds()
    steps = rounds.run([engine, "features", str(args.corpora), str(bench.work / "steps")])
    found = table(raw, args.threads)
    most = str(max(args.threads))
    own = found[most]["sermill"]
    runs = [run for one in raw for run in one["runs"]]
    result = {
        "bench": "features", "machine": record.machine(), "commit": record.commit(), "n_rounds": args.rounds,
        "recordings": runs[0]["recordings"], "threads": found, "steps": steps["steps"],
        "seconds_of_audio": steps["seconds_of_audio"], "n_threads": int(most),
        "recordings_per_s": own["recordings_per_s"], "peak_memory_mb": own["peak_memory_mb"]}
    for name in PEERS:
        result[f"ratio_{name}"] = found[most][name]["ratio"]
    for name in PEERS:
        result[f"ratio_{name}_1_thread"] = found["1"][name]["ratio"] if "1" in found else None
    result["versions"] = {run["engine"]: run["version"] for run in runs if "version" in run}
    result["libraries"] = {run["engine"]: run["libraries"] for run in runs if "libraries" in run}
    return result, raw


def page(name, result, notes):
    """The README of the dated folder."""
    on = result["machine"]
    lines = [f"# bench-{name}", "",
             f"{on['processor']}, {on['architecture']}, {on['cores']} cores, {on['memory_gb']} GB, {on['kernel']}; commit "
             f"{result['commit']}; {result['n_rounds']} rounds over {result['recordings']} recordings "
             f"({result['seconds_of_audio'] / 3600:.2f} h).", "",
             "| threads | engine | recordings/s (slowest to fastest round) | sermill is faster by | peak memory MB |",
             "|---|---|---|---|---|"]
    for n_threads, engines in result["threads"].items():
        for engine, one in engines.items():
            ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f} x"
            lines.append(f"| {n_threads} | {engine} | {one['recordings_per_s']} ({one['slowest']} to {one['fastest']}) | "
                         f"{ratio} | {one['peak_memory_mb']} |")
    lines += ["", "Where sermill's time goes, each step alone on one thread over all recordings:", "",
              "| step | us per recording | bound by |", "|---|---|---|"]
    lines += [f"| {one['step']} | {one['us_per_recording']:.1f} | {one['bound']} |" for one in result["steps"]]
    versions = "; ".join(f"{engine}: {version} ({', '.join(result['libraries'][engine])})"
                         for engine, version in result["versions"].items())
    return "\n".join(lines + ["", *notes, "", f"Versions and kernels: {versions}."]) + "\n"


NOTES = [
    "sermill is the whole program, from its start to its end; the peers are timed without loading their libraries. With more "
    "than one thread they are processes of their own with one thread of linear algebra each, and their allocator is told "
    "never to give memory back. Memory of the peers is that of the processes that work.", "",
    "librosa makes its filter bank once here; `librosa.feature.melspectrogram` makes it on each call. torchaudio takes soxr "
    "for the resampling, which is faster than its own. numpy transforms the 256 samples under the window, with scipy.fft in "
    "float32, and only frames that are not padding."]


def main():
    args = arguments()
    engine = build()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        try:
            result, raw = measure(Bench(args, Path(folder)), engine)
        except (rounds.Failed, subprocess.CalledProcessError) as failed:
            sys.exit(f"error: {failed}")
    folder = record.write(args.out, "features", result, raw, NOTES, page)
    print(json.dumps(result | {"folder": str(folder)}))


if __name__ == "__main__":
    main()
