"""The program under torture, the folders it works in, and what its runs came to."""

import math
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
STAGES = ["ingest", "features", "train", "score", "report"]
# Makes the demo recipe small: a run of a stage takes a twentieth of a second.
SMALL = ["train.network.maps=[4,4,6,6]", "train.network.lstm_units=8", "train.epochs=2", "train.batch=8",
         "features.shard_recordings=4", "features.front_end.n_samples=16384", "report.bootstrap=50"]
# A command on 21 short recordings that has not ended by then hangs.
PATIENCE_S = 15
NOBODY = 65534


@dataclass
class Ended:
    """How a command ended."""

    command: str
    code: int
    out: bytes
    err: bytes
    hung: bool = False
    peak_kb: int = 0

    @property
    def message(self):
        return self.err.decode("utf-8", "replace")

    def crash(self):
        """A panic, a signal or a hang: the problems that no command may have, whatever was done to it."""
        if self.hung:
            return [("hang", "still running after its time")]
        if b"panicked" in self.err or b"memory allocation" in self.err:
            return [("panic", self.last())]
        if self.code < 0:
            return [("signal", f"died of signal {-self.code}")]
        if self.code > 3:
            return [("exit-code", f"ended with {self.code}")]
        return []

    def last(self):
        lines = [line for line in self.message.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("error:", "hint:"))] or lines[-2:]
        return " | ".join(errors)[-600:]


@dataclass
class Tally:
    """Points and failures of one test."""

    name: str
    mill: "Mill"
    points: int = 0
    failures: int = 0
    kinds: Counter = field(default_factory=Counter)
    extra: dict = field(default_factory=dict)
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def point(self, name, problems, steps=()):
        """Counts a point; `problems` are pairs of kind and detail, `steps` the commands that make it again."""
        with self.lock:
            self.points += 1
            if not problems:
                return
            self.failures += 1
            self.kinds.update({kind for kind, _ in problems})
        self.mill.log_failure(self.name, name, problems, steps)

    def count(self, name, number=1):
        with self.lock:
            self.extra[name] = self.extra.get(name, 0) + number

    def skip(self, reason):
        self.extra["skipped"] = reason

    def result(self):
        found = {"points": self.points, "failures": self.failures, "seconds": round(self.seconds, 1)}
        if self.kinds:
            found["kinds"] = dict(self.kinds.most_common())
        return found | self.extra


class Mill:
    """A copy of the program, a folder to work in, the share of the points that is asked for."""

    def __init__(self, options, work):
        self.options = options
        self.work = work
        self.jobs = options.jobs
        self.share = options.share
        self.lock = threading.Lock()
        self.n_shown = 0
        self.n_folders = 0
        self.things = {}
        # A copy: whoever builds meanwhile changes nothing here, and another user may run it.
        home = work / "bin"
        home.mkdir()
        self.program = home / "sermill"
        shutil.copy2(options.sermill, self.program)
        library = Path(options.library or options.sermill.parent / "libonnxruntime.so")
        shutil.copy2(library, home / "libonnxruntime.so")
        self.pipeline = home / "demo.toml"
        shutil.copy2(options.pipeline or PROJECT / "pipelines" / "demo.toml", self.pipeline)
        self.shim = home / "shim.so"
        if shutil.which("cc") is None:
            sys.exit("torture: there is no C compiler `cc`, which builds the library that makes calls fail")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.shim, HERE / "shim.c", "-ldl"], check=True)
        self.failures = work / "failures.log"
        help_text = subprocess.run([self.program, "help"], capture_output=True, text=True).stdout
        self.has_verify = bool(re.search(r"^\s+verify\b", help_text, re.M))

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def log_failure(self, test, point, problems, steps):
        text = f"[{test}] {point}\n"
        text += "".join(f"  {kind}: {detail}\n" for kind, detail in problems)
        text += "".join(f"    {step}\n" for step in steps)
        pattern = re.escape(f"{test}/{point.split(' (')[0]}").replace("'", ".")
        text += f"    torture.py --only {test} --seed {self.options.seed} --keep --point '^{pattern}( |$)' ...\n"
        with self.lock:
            with open(self.failures, "a", errors="backslashreplace") as log:
                log.write(text)
            self.n_shown += 1
            if self.n_shown <= 10:
                self.say(text.encode("utf-8", "backslashreplace").decode().rstrip())

    # ---- what is run

    def folder(self, name="room"):
        """A fresh folder."""
        with self.lock:
            self.n_folders += 1
            path = self.work / f"{name}-{self.n_folders}"
        path.mkdir(parents=True)
        return path

    def drop(self, folder):
        if not self.options.keep:
            shutil.rmtree(folder, ignore_errors=True)

    def copy(self, source, name="store"):
        """A copy of a store: times, modes and hard links are kept."""
        folder = self.folder(name) / "S"
        if any(Path(source).iterdir()):
            subprocess.run(["cp", "-a", source, folder], check=True)
        else:
            folder.mkdir()
        return folder

    def args(self, stage, corpora, store, more=(), threads=1, pipeline=None, sets=SMALL):
        """Arguments of a stage of the small demo."""
        name, *rest = stage.split()
        found = [name, "--pipeline", pipeline or self.pipeline, "--corpora", corpora, "--store", store]
        found += ["--threads", str(threads)] if threads else []
        for item in sets:
            found += ["--set", item]
        return [*map(str, found), *rest, *map(str, more)]

    def run(self, args, env=None, patience_s=PATIENCE_S, cwd=None, limits=(), user=None):
        """Runs the program to its end; `limits` are pairs for setrlimit."""
        env = env or {}
        argv = [os.fspath(self.program), *args]
        command = " ".join([f"{key}={shlex.quote(str(value))}" for key, value in env.items()]
                           + [_quoted(part) for part in argv])
        command = (f"cd {shlex.quote(str(cwd))} && " if cwd else "") + command
        options = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
        if limits:
            options["preexec_fn"] = lambda: _limit(limits)
        process = subprocess.Popen(argv, env=os.environ | {key: str(value) for key, value in env.items()}, cwd=cwd,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        try:
            out, err = process.communicate(timeout=patience_s)
            return Ended(command, process.returncode, out, err)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
            return Ended(command, -9, out, err, hung=True)

    def run_shell(self, argv):
        subprocess.run([str(part) for part in argv], check=True)

    def done(self, args, codes=(0, 1), **more):
        """A run that must succeed: what the tests stand on."""
        ended = self.run(args, **more)
        if ended.code not in codes:
            raise RuntimeError(f"{ended.command}\nended with {ended.code}: {ended.message}")
        return ended

    def once(self, name, make):
        """What several tests use and one of them makes."""
        if name not in self.things:
            self.things[name] = make()
        return self.things[name]

    # ---- which points, and how many at once

    def dice(self, *names):
        return random.Random("/".join(map(str, (self.options.seed, *names))))

    def some(self, test, points, least=4, name=str):
        """The share of `points` that is asked for, in strides; all that match --point if that is given."""
        points = list(points)
        if self.options.point:
            return [point for point in points if re.search(self.options.point, f"{test}/{name(point)}")]
        wanted = max(min(least, len(points)), math.ceil(len(points) * self.share))
        if wanted >= len(points):
            return points
        start = self.dice("share", test, len(points)).random()
        return [points[int((i + start) * len(points) / wanted)] for i in range(wanted)]

    def number(self, full, least=2):
        """A number of rounds in proportion to the share."""
        return max(least, math.ceil(full * self.share))

    def each(self, tally, points, work, name=str):
        """`work(point)` for all points, some at once; it gives problems and steps. A broken test is a failure."""
        def one(point):
            try:
                found = work(point)
            except Exception:
                found = [("harness", traceback.format_exc()[-1500:])], ()
            if found is not None:
                tally.point(name(point), *found)
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(one, points))


def _quoted(part):
    try:
        return shlex.quote(os.fspath(part) if not isinstance(part, bytes) else part.decode())
    except UnicodeDecodeError:
        return repr(part)


def _limit(limits):
    for what, value in limits:
        resource.setrlimit(what, (value, value))


class Clock:
    def __init__(self):
        self.started = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.started
