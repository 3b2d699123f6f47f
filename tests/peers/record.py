"""The dated folder of a benchmark: raw numbers, and a page with machine, commit, command lines and a table."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path


def machine():
    """What the numbers were measured on."""
    def first(file, key):
        lines = Path(file).read_text().splitlines() if Path(file).exists() else []
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")

    memory = first("/proc/meminfo", "MemTotal").split()[0]
    return {"processor": first("/proc/cpuinfo", "model name"), "architecture": platform.machine(),
            "cores": os.cpu_count(), "memory_gb": round(int(memory) / 2**20, 1) if memory.isdigit() else None,
            "kernel": f"{platform.system()} {platform.release()}"}


def commit():
    """The commit that was measured, and whether files differed from it."""
    git = lambda *args: subprocess.run(["git", *args], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain", "-uno") else "")


def write(folder, name, result, rounds, notes, page=None):
    """Writes `<folder>/<today>-<name>/`: `result.json`, `raw.json`, `README.md` (by `page`); gives its path.

    A second run of a day replaces the first.
    """
    target = Path(folder) / f"{datetime.date.today().isoformat()}-{name}"
    target.mkdir(parents=True, exist_ok=True)
    (target / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    # One line per round keeps the steps raw and the file readable.
    (target / "raw.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in rounds) + "\n]\n")
    (target / "README.md").write_text((page or batches_page)(name, result, notes))
    return target


def batches_page(name, result, notes):
    """The page of engines that are told sizes of a batch."""
    on = result["machine"]
    lines = [f"# bench-{name}, {datetime.date.today().isoformat()}", "",
             f"{on['processor']}, {on['architecture']}, {on['cores']} cores, {on['memory_gb']} GB, {on['kernel']}; "
             f"commit {result['commit']}; {result['n_rounds']} rounds, {result['n_threads']} threads.",
             f"Peak of fused multiply-adds: {result['peak_gflops']['1']:.0f} GFLOP/s on one thread, "
             f"{result['peak_gflops']['2']:.0f} on two ({result['instructions']}).", "",
             "| batch | engine | recordings/s (slowest to fastest round) | sermill is faster by | peak memory MB |",
             "|---|---|---|---|---|"]
    for batch, engines in result["batches"].items():
        for engine, one in engines.items():
            if one is None:
                lines.append(f"| {batch} | {engine} | none: {result['missing'].get(engine, 'not run')} | | |")
                continue
            ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f} x"
            lines.append(f"| {batch} | {engine} | {one['recordings_per_s']} ({one['slowest']} to {one['fastest']}) | "
                         f"{ratio} | {one['peak_memory_mb']} |")
    lines += ["", *notes, "", "Versions: " + ", ".join(f"{k} {v}" for k, v in result["versions"].items()) + ".", "",
              "Each process in turn, every round:", ""]
    lines += [f"    {command}" for command in result["commands"]]
    return "\n".join(lines) + "\n"
