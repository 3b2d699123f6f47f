"""What is bounded: memory, whatever a recording's size; and a disk that is really full."""

import os
import random
import signal
import struct
import subprocess
import time

from fuzz import UNLABELLED
from mill import Ended, Tally
from scenes import INPUT, chains, names_a_file
from store import same_end, snapshot

LIMIT_KB = 300_000
# The machine lives on: whoever takes this much has failed already.
ENOUGH_KB = 1_200_000
MINUTES = 60
COMMANDS = ["ingest", "features", INPUT, "inspect"]
# A size that is refused says which size is not.
SAYS_A_LIMIT = ("format", "silent", "limit", "at most", "more than", "longer", "larger", "too ")


def memory(mill, reader):
    tally = Tally("memory", mill)
    minutes = max(20, round(MINUTES * mill.share))
    cases = [(f"{minutes} minutes of 48 kHz stereo", lambda path: noise(mill, path, minutes)),
             ("3 GB of zeros", lambda path: sparse(path, b"", 3 << 30)),
             ("100 GB of zeros", lambda path: sparse(path, b"", 100 << 30)),
             ("a header and 100 GB of silence", lambda path: sparse(path, wave_header(0xFFFF_FFFF), 100 << 30)),
             ("a FLAC head and 100 GB of zeros", lambda path: sparse(path, b"fLaC" + bytes(60), 100 << 30)),
             ("an ID3 tag of 250 MB and zeros", lambda path: sparse(path, b"ID3\x04\0\0\x7f\x7f\x7f\x7f", 3 << 30))]
    if mill.share < 0.5 and not mill.options.point:
        cases = cases[:3]
    # What is refused for its size proves nothing about what is taken: halves, down to the first that is.
    cases += [("the longest that is taken", lambda path: longest(mill, reader, path))]
    chains(mill, reader)
    mill.each(tally, cases, lambda case: measure(mill, reader, tally, *case), name=lambda case: case[0])
    return tally


def wave_header(n_bytes):
    """48 kHz, stereo, 16 bits."""
    size = min(0xFFFF_FFFF, n_bytes + 36)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", size, b"WAVE", b"fmt ", 16, 1, 2, 48000, 192000, 4, 16, b"data", n_bytes)


def sparse(path, head, size):
    path.write_bytes(head)
    os.truncate(path, size)


def noise(mill, path, minutes):
    """One minute of noise, again and again, in pieces."""
    dice = random.Random(mill.options.seed)
    minute = bytes(dice.randbytes(192000)) * 60
    with open(path, "wb") as out:
        out.write(wave_header(192000 * 60 * minutes))
        for _ in range(minutes):
            out.write(minute)


def longest(mill, reader, path):
    """Noise of as many minutes as the program takes, of 2 to 64, in powers of two."""
    minutes = 64
    while minutes > 2:
        noise(mill, path, minutes)
        store = mill.folder("trial") / "S"
        watched(mill, mill.args("ingest", path.parent, store, UNLABELLED))
        taken = reader.select(store, "manifest", ["status"]) == [("ok",)]
        mill.drop(store.parent)
        if taken:
            break
        minutes //= 2
    return minutes


def measure(mill, reader, tally, name, make):
    folder, store = mill.folder("large") / "corpus", mill.folder("store") / "S"
    folder.mkdir()
    file = folder / "large.wav"
    minutes = make(file)
    if minutes:
        name = f"{name}, {minutes} minutes"
    model = next(chains(mill, reader)["empty/score"].prefix.glob("models/*/model.onnx"))
    for command in COMMANDS:
        if command == "inspect":
            args = ["inspect", str(file)]
        else:
            more = ([folder] if command == INPUT else []) + [*UNLABELLED, "--set", f"score.model={model}"]
            args = mill.args(command, folder, store, more)
        ended = watched(mill, args)
        tally.extra[f"{name}: {command}"] = f"{ended.peak_kb // 1000} MB, exit {ended.code}"
        problems = bounded(ended) + sensible(reader, ended, command, store)
        # Without recordings `features` has nothing to work on.
        tally.point(f"{name}/{command}", problems, [ended.command, f"-> {ended.code}: {ended.last()}"])
    mill.drop(folder.parent)
    mill.drop(store.parent)


def watched(mill, args, patience_s=120):
    """Runs a command and measures its largest resident memory; one that takes far too much is ended."""
    argv = [str(mill.program), *args]
    out, err = mill.folder("said") / "out", mill.folder("said") / "err"
    with open(out, "wb") as to_out, open(err, "wb") as to_err:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err)
    started, peak, hung = time.monotonic(), 0, False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        peak = max(peak, resident_kb(process.pid))
        hung = time.monotonic() - started > patience_s
        if hung or peak > ENOUGH_KB:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    # The kernel's own figure counts this process before it became that program.
    peak = max(peak, usage.ru_maxrss if usage.ru_maxrss > own_kb() else 0)
    return Ended(" ".join(argv), process.returncode, out.read_bytes(), err.read_bytes(), hung, peak)


def resident_kb(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def own_kb():
    return resident_kb(os.getpid())


def bounded(ended):
    if ended.peak_kb > LIMIT_KB:
        return [("memory", f"took {ended.peak_kb // 1000} MB")]
    return ended.crash()


def sensible(reader, ended, command, store):
    """Used, or rejected with a reason that says why."""
    if ended.code < 0:
        return []
    if command == "inspect":
        good = ended.code == 0 or ended.code == 2 and any(word in ended.message for word in SAYS_A_LIMIT)
        return [] if good else [("reason", f"ended with {ended.code}: {ended.last()}")]
    table = {"ingest": "manifest", "features": "features", INPUT: "predictions"}[command]
    rows = reader.select(store, table, ["recording_id", "status", "reject_reason"])
    if command == "features" and not rows:
        return [] if ended.code in (0, 1, 2) else [("exit-code", ended.last())]
    if len(rows) != 1 or ended.code not in (0, 1):
        return [("rows", f"{len(rows)} rows, exit {ended.code}: {ended.last()}")]
    reason = rows[0][2] or ""
    if rows[0][1] == "rejected" and not any(word in reason for word in SAYS_A_LIMIT):
        return [("reason", f"rejected: {reason}")]
    return []


# ---- full-disk

SIZES_KB = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384]
INODES = [4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64]


def full_disk(mill, reader):
    tally = Tally("full-disk", mill)
    if problem := mount(mill.folder("trial"), "size=64k"):
        tally.skip(f"tmpfs cannot be mounted here: {problem}")
        return tally
    unmount(mill.work / f"trial-{mill.n_folders}")
    cases = [f"size={size}k" for size in SIZES_KB] + [f"nr_inodes={n}" for n in INODES]
    mill.each(tally, mill.some("full-disk", cases), lambda case: filled(mill, reader, tally, case))
    return tally


def mount(folder, options):
    found = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    return found.stderr.strip() or "mount failed" if found.returncode else None


def unmount(folder):
    subprocess.run(["umount", "-l", folder], capture_output=True)


def filled(mill, reader, tally, case):
    """The chain on a tiny disk ends with 3 and names a file; on a larger one the same chain goes on to the same tables."""
    scenes = chains(mill, reader)
    scene = scenes["empty/report"]
    disk = mill.folder("disk")
    if problem := mount(disk, case):
        return [("harness", problem)], []
    try:
        store = disk / "S"
        stages = ["ingest", "features", "train", "score", "report"]
        ended, problems = [], []
        for stage in stages:
            ended.append(mill.run(mill.args(stage, scene.corpora, store)))
            if ended[-1].code not in (0, 1):
                break
        last = ended[-1]
        problems += last.crash()
        if last.code not in (0, 1):
            tally.count("filled")
            if not problems and (last.code != 3 or not names_a_file(last, disk)):
                problems.append(("exit-code", f"ended with {last.code}: {last.last()}"))
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", disk], check=True, capture_output=True)
        again = [mill.run(mill.args(stage, scene.corpora, store)) for stage in stages]
        problems += [("repeat", f"ended with {one.code}: {one.last()}") for one in again if one.code not in (0, 1)]
        problems += same_end(snapshot(reader, store), scene.new)
    finally:
        unmount(disk)
    steps = [f"mount -t tmpfs -o {case} tmpfs {disk}"]
    return problems, steps + [step for one in ended for step in (one.command, f"-> {one.code}: {one.last()}")]
