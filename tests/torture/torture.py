"""Torture of sermill: faults at every call, kills, full disks, damage, hostile input, many processes at once.

    python3 tests/torture/torture.py --sermill target/release/sermill [--share 0.1] [--only kill,damage] [--seed 1]

See README.md beside this file. The last line of stdout is one JSON object; the exit code is 0 when nothing failed.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import beside
import damage
import faults
import foreign
import fuzz
import hostile
import limits
from mill import Clock, Mill, Tally
from store import Python, Reader
import truths

TESTS = {
    "foreign": foreign.foreign,
    "model-id": foreign.model_id,
    "read-faults": faults.read_faults,
    "kill": faults.kill,
    "enospc": faults.enospc,
    "eio-write": faults.eio_write,
    "syncs": faults.syncs,
    "readers": beside.readers,
    "damage": damage.damage,
    "resume": truths.resume,
    "relabel": truths.relabel,
    "exit-codes": faults.exit_codes,
    "side-by-side": beside.side_by_side,
    "memory": limits.memory,
    "hostile": hostile.hostile,
    "full-disk": limits.full_disk,
    "mutated": fuzz.mutated,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sermill", type=Path, required=True, help="the program")
    parser.add_argument("--library", type=Path, help="the ONNX Runtime library [default: beside the program]")
    parser.add_argument("--pipeline", type=Path, help="the demo recipe of the program's own time [default: pipelines/demo.toml]")
    parser.add_argument("--python", type=Path, help="folder that tests/python/install.sh filled, or an interpreter with "
                        "DuckDB, Polars and pandas [default: SERMILL_PYTHON, or python/ beside the program's folder]")
    parser.add_argument("--share", type=float, default=1.0, help="share of each test's points [default: 1]")
    parser.add_argument("--seed", type=int, default=1, help="of which points, which bits, which delays [default: 1]")
    parser.add_argument("--only", default="", help=f"tests, comma separated, of {', '.join(TESTS)}")
    parser.add_argument("--skip", default="", help="tests that are left out, comma separated")
    parser.add_argument("--point", help="only points of which TEST/NAME matches this regular expression")
    parser.add_argument("--jobs", type=int, default=2, help="points at a time [default: 2]")
    parser.add_argument("--work", type=Path, help="where to work [default: /dev/shm, where a sync costs nothing, or /tmp]")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all stores")
    return parser.parse_args()


def place_to_work(given):
    if given:
        given.mkdir(parents=True, exist_ok=True)
    room = given
    memory = Path("/dev/shm")
    # A program must be able to run from there.
    if room is None and memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30 \
            and not os.statvfs(memory).f_flag & os.ST_NOEXEC:
        room = memory
    folder = Path(tempfile.mkdtemp(prefix="sermill-torture-", dir=room)).resolve()
    # Another user must be able to look in, for what root may always read.
    folder.chmod(0o755)
    return folder


def python_of(options):
    beside = options.sermill.parent.parent / "python"
    return Python(options.python or os.environ.get("SERMILL_PYTHON") or (beside if beside.is_dir() else None))


def chosen(options):
    names = [name for name in options.only.split(",") if name] or list(TESTS)
    left_out = options.skip.split(",")
    unknown = [name for name in names if name not in TESTS]
    if unknown:
        sys.exit(f"torture: no test is called {', '.join(unknown)}; there are {', '.join(TESTS)}")
    return [name for name in names if name not in left_out]


def run_all(mill, reader, names):
    results = {}
    for name in names:
        clock = Clock()
        try:
            tally = TESTS[name](mill, reader)
        except Exception as error:
            tally = Tally(name, mill)
            tally.point("the test itself", [("harness", repr(error))])
            if mill.options.keep:
                raise
        tally.seconds = clock.seconds()
        results[name] = tally.result()
        mill.say(f"torture: {name}: {json.dumps(results[name])}")
    return results


def print_table(mill, results):
    mill.say(f"\n{'test':<14}{'points':>8}{'failures':>10}{'seconds':>9}  what failed")
    for name, found in results.items():
        what = found.get("skipped") and f"skipped: {found['skipped']}"
        what = what or ", ".join(f"{kind} {number}" for kind, number in found.get("kinds", {}).items())
        mill.say(f"{name:<14}{found['points']:>8}{found['failures']:>10}{found['seconds']:>9}  {what}")


def main():
    options = arguments()
    options.sermill = options.sermill.resolve()
    names = chosen(options)
    python = python_of(options)
    if problem := python.problem():
        sys.exit(f"torture: this Python has not what reads the tables ({problem}): run `make python` and give --python")
    work = place_to_work(options.work)
    mill, reader = Mill(options, work), Reader(python)
    mill.say(f"torture: {options.sermill}, seed {options.seed}, share {options.share}, {options.jobs} jobs, in {work}")
    clock = Clock()
    results = run_all(mill, reader, names)
    reader.close()
    print_table(mill, results)
    failed = sum(found["failures"] for found in results.values())
    mill.say(f"torture: {sum(found['points'] for found in results.values())} points, {failed} failures, "
             f"{clock.seconds():.0f} s, seed {options.seed}")
    tidy(mill, options, work, failed)
    print(json.dumps(results))
    return 1 if failed else 0


def tidy(mill, options, work, failed):
    if options.keep:
        mill.say(f"torture: all stores are kept in {work}")
        return
    for path in work.iterdir():
        if path != mill.failures:
            shutil.rmtree(path, ignore_errors=True)
    if failed:
        mill.say(f"torture: every failure with its commands is in {mill.failures}")
    else:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
