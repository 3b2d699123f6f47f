"""Where the kills take place: a corpus, stores to start from, calm runs as the truth, and what must hold afterwards."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from watch import Plan, processes, wait_for

PROJECT = Path(__file__).resolve().parents[2]
DISPATCHER = PROJECT / "dispatch" / "ray_shards.py"
RECIPE = PROJECT / "pipelines" / "demo.toml"
# A network that is trained in seconds, and shards of which there are enough.
SMALL = ["train.network.maps=[4,4,6,6]", "train.network.lstm_units=8", "train.epochs=1"]
SCORED = ["score.source=audio", "score.device=native", 'score.splits=["train","validation","test"]']
PATIENCE_S = 240


@dataclass
class Found:
    """What a store holds: its files below tables/ with their hashes, but for the ledger, which reads a clock."""

    files: dict[str, str]
    n_runs: int


@dataclass
class Work:
    """A stage on a store of its own, and the driver's commands on it."""

    room: "Room"
    stage: str
    store: Path
    drivers: list[subprocess.Popen] = field(default_factory=list)

    def start(self, address: str) -> subprocess.Popen:
        argv = [sys.executable, DISPATCHER, "--address", address, "--sermill", self.room.program, "--tasks", "1000",
                *self.room.plan_args(self.stage, self.store)]
        log = (self.store.parent / "driver.log").open("ab")
        # A session of its own: it is killed with all that it started.
        driver = subprocess.Popen([str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  start_new_session=True)
        self.drivers.append(driver)
        return driver

    def plan(self) -> Plan:
        """The plan, once there is one."""
        def find():
            files = list((self.store / "plans" / self.stage).glob("*/plan.json"))
            return files and Plan(files[0].parent, self.store, self.room.program)
        found = wait_for(find, PATIENCE_S, 0.002)
        if not found:
            raise RuntimeError(f"no plan after {PATIENCE_S} s: {self.said()}")
        return found

    def end(self, driver: subprocess.Popen) -> int:
        try:
            return driver.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the driver hangs: {self.said()}") from None

    def said(self) -> str:
        return (self.store.parent / "driver.log").read_text(errors="replace")[-1500:]

    def lines(self) -> list[dict]:
        """What the drivers printed as JSON."""
        text = (self.store.parent / "driver.log").read_text(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    # ---- what must hold in the end

    def problems(self) -> dict:
        """Files lost and doubled against the calm run, and all else that should not be."""
        room, calm, now = self.room, self.room.calm(self.stage), self.room.look(self.store)
        others = [f"{path} has other bytes" for path in calm.files if now.files.get(path) not in (None, calm.files[path])]
        if now.n_runs != calm.n_runs:
            others.append(f"{now.n_runs} runs in the ledger, a calm run has {calm.n_runs}")
        left = [path for place in ("staging", "plans") for path in (self.store / place).rglob("*") if path.is_file()]
        left += self.store.glob("index/*.pending.json")
        others += [f"left behind: {path.relative_to(self.store)}" for path in left]
        verified = room.run(["verify", "--store", self.store])
        if verified.returncode:
            others.append(f"verify: {verified.stderr[-500:]}")
        again = room.run(["plan", *room.plan_args(self.stage, self.store)])
        if again.returncode not in (0, 1) or not json.loads(again.stdout.splitlines()[-1])["fresh"]:
            others.append(f"not up to date afterwards: {again.stdout[-300:]}{again.stderr[-300:]}")
        return {"lost": len(calm.files.keys() - now.files.keys()), "doubled": len(now.files.keys() - calm.files.keys()),
                "others": others}


class Room:
    """A folder with a copy of the program, a synthetic corpus, and stores that each round starts from."""

    def __init__(self, sermill: Path, work: Path, options):
        self.work, self.options = work, options
        home = work / "bin"
        home.mkdir()
        self.program = home / "sermill"
        shutil.copy2(sermill, self.program)
        library = sermill.parent / "libonnxruntime.so"
        if library.exists():
            shutil.copy2(library, home / library.name)
        self.corpora = work / "corpora"
        self.done(["synth", self.corpora / "synthetic", "--speakers", options.speakers, "--repetitions", options.repetitions])
        self.n_rooms = 0
        self.truth: dict[str, Found] = {}
        self.model = None
        self.ingested = work / "ingested"
        self.done(["ingest", *self.common(self.ingested)])

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def run(self, args: list) -> subprocess.CompletedProcess:
        return subprocess.run([str(self.program), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE_S)

    def done(self, args: list) -> subprocess.CompletedProcess:
        ended = self.run(args)
        if ended.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(map(str, args))} ended with {ended.returncode}: {ended.stderr[-1500:]}")
        return ended

    def common(self, store: Path, sets: tuple[str, ...] = ()) -> list:
        found = ["--pipeline", RECIPE, "--corpora", self.corpora, "--store", store, "--quiet"]
        for item in (f"features.shard_recordings={self.options.shard}", *SMALL, *sets):
            found += ["--set", item]
        return found

    def args(self, stage: str, store: Path) -> list:
        """Arguments of a stage; `score` goes from audio, natively, with one model for all rounds."""
        sets = (f"score.model={self.school()}", *SCORED) if stage == "score" else ()
        return [stage, *self.common(store, sets)]

    def plan_args(self, stage: str, store: Path) -> list:
        """The same for `sermill plan`, with shards as small as those of `features`."""
        return self.args(stage, store) + ([] if stage == "features" else ["--shard-recordings", self.options.shard])

    def school(self) -> Path:
        """A model, trained once on a store of its own."""
        if self.model is None:
            store = self.work / "school"
            shutil.copytree(self.ingested, store)
            for stage in ("features", "train"):
                self.done([stage, *self.common(store)])
            self.model = next(store.glob("models/*/model.onnx"))
        return self.model

    def store(self) -> Path:
        """A copy of the ingested store, in a folder of its own."""
        self.n_rooms += 1
        folder = self.work / f"room-{self.n_rooms}"
        folder.mkdir()
        return Path(shutil.copytree(self.ingested, folder / "store"))

    def calm(self, stage: str) -> Found:
        """What one process makes of the stage, in which nothing happens."""
        if stage not in self.truth:
            store = self.store()
            args, started = self.args(stage, store), time.monotonic()
            self.done(args)
            self.truth[stage] = self.look(store)
            n_files = len(self.truth[stage].files)
            self.say(f"{stage} in one process, calm: {n_files} files below tables/ in {time.monotonic() - started:.1f} s")
        return self.truth[stage]

    def look(self, store: Path) -> Found:
        files = {str(path.relative_to(store)): path for path in (store / "tables").rglob("*") if path.is_file()}
        runs = [name for name in files if name.startswith("tables/runs/")]
        hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name not in runs}
        return Found(hashes, len(runs))

    def work_on(self, stage: str) -> Work:
        self.calm(stage)
        return Work(self, stage, self.store())

    def strays(self) -> list[int]:
        return processes(self.program)
