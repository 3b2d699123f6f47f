"""What is going on at this moment: processes of sermill, what they hold, what is staged; and holding them still to look."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []


def _stat(pid: int) -> list[str]:
    """State, parent, ... of a process; nothing if it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def parent_of(pid: int) -> int:
    return int((_stat(pid) + ["0", "0"])[1])


def ancestors(pid: int) -> Iterator[int]:
    while (pid := parent_of(pid)) > 1:
        yield pid


def processes(program: Path, *words: str) -> list[int]:
    """Processes of the program whose command line has all of the words."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            argv = command_of(int(name))
            if argv[:1] == [str(program)] and set(words) <= set(argv):
                found.append(int(name))
    return found


def freeze(pid: int) -> bool:
    """Stops a process; true once it stands still."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    for _ in range(2000):
        state = _stat(pid)[:1]
        if state == ["T"]:
            return True
        if state in ([], ["Z"], ["X"]):
            return False
        time.sleep(0.0005)
    return False


def let_go(pid: int) -> None:
    send(pid, signal.SIGCONT)


def send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


@dataclass
class Caught:
    """A process that stands still in the middle of a shard, and what proves it."""

    pid: int
    shard: str
    temporaries: list[str]
    n_staged: int
    n_shards: int

    def proof(self) -> dict:
        return {"shard": self.shard, "temporary": bool(self.temporaries), "staged": f"{self.n_staged}/{self.n_shards}"}


class Plan:
    """A plan of a store: its shards, what is staged of them, who works on them."""

    def __init__(self, folder: Path, store: Path, program: Path):
        facts = json.loads((folder / "plan.json").read_text())
        self.folder, self.store, self.program = folder, store, program
        self.stage, self.id = folder.parent.name, folder.name
        self.shards = [shard["id"] for shard in facts["shards"]]
        self.staging = store / "staging" / self.stage / self.id

    def files(self) -> list[str]:
        try:
            return os.listdir(self.staging)
        except FileNotFoundError:
            return []

    def staged(self) -> set[str]:
        """The shards that lie in staging, whole: `part-<id>-<hash>.parquet`."""
        whole = {name.removeprefix("part-").rpartition("-")[0] for name in self.files() if name.endswith(".parquet")}
        return whole.intersection(self.shards)

    def workers(self) -> list[int]:
        return processes(self.program, "shard", str(self.folder))

    def catch(self, share: float = 0.0, below: Optional[int] = None, writing: bool = False) -> Optional[Caught]:
        """Holds a process that is at work on a shard, with at least `share` of all staged; nothing if there is none just now.

        `below`: only one that this process started. `writing`: only one that has its temporary open.
        """
        if len(self.staged()) < share * len(self.shards):
            return None
        for pid in self.workers():
            if (below is None or below in ancestors(pid)) and freeze(pid):
                caught = self._look(pid)
                if caught and (caught.temporaries or not writing):
                    return caught
                let_go(pid)
        return None

    def _look(self, pid: int) -> Optional[Caught]:
        argv = command_of(pid)
        if "--of" not in argv:
            return None
        index, of = (int(argv[argv.index(word) + 1]) for word in ("--index", "--of"))
        staged = self.staged()
        left = [shard for shard in self.shards[index::of] if shard not in staged]
        return Caught(pid, left[0], self._held(pid), len(staged), len(self.shards)) if left else None

    def _held(self, pid: int) -> list[str]:
        """Files of the store that a process has open to write, and that no table has yet."""
        found = []
        try:
            for entry in os.scandir(f"/proc/{pid}/fd"):
                path = os.readlink(entry.path)
                flags = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0]
                if path.startswith(f"{self.store}/staging/") and int(flags, 8) & os.O_ACCMODE:
                    found.append(path)
        except OSError:
            pass
        return found


def wait_for(what, patience_s: float, pause_s: float = 0.001):
    """The first true answer of `what()` within the time; the last answer else."""
    end = time.monotonic() + patience_s
    while not (found := what()) and time.monotonic() < end:
        time.sleep(pause_s)
    return found
