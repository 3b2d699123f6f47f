"""The kills. Each catches a process at work, which stands still meanwhile, proves what it worked on, and strikes then."""

import os
import signal
import time
from typing import Callable, Optional

from local import LocalCluster
from room import PATIENCE_S, Room, Work
from watch import Caught, Plan, ancestors, command_of, freeze, is_alive, let_go, parent_of, send, wait_for

# A driver that has lost its head gives up after this; a minute unless told otherwise.
HEADLESS_S = 5


class Missed(Exception):
    """Nothing was hit: the round does not count, and is made again."""


class Round:
    """A cluster, a stage at work on it, and what was struck."""

    def __init__(self, room: Room, stage: str):
        self.work: Work = room.work_on(stage)
        self.cluster = LocalCluster()
        self.driver = self.work.start(self.cluster.address)
        self.proof: dict = {}
        self.n_again = 0

    def plan(self) -> Plan:
        return self.work.plan()

    def caught(self, **how) -> Caught:
        plan = self.plan()
        found = wait_for(lambda: self.driver.poll() is not None or plan.catch(**how), PATIENCE_S)
        if not isinstance(found, Caught):
            raise Missed(f"the stage was done before {how} was caught")
        return found

    def again(self) -> int:
        """The same command once more, on the cluster that there is."""
        self.n_again += 1
        self.driver = self.work.start(self.cluster.address)
        return self.work.end(self.driver)

    def kill_driver(self) -> None:
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()

    def raylet_of(self, caught: Caught) -> int:
        for pid in ancestors(caught.pid):
            if pid in self.cluster.raylets:
                return pid
        raise Missed("the shard's process has no raylet above it")

    def anew(self) -> None:
        """Another cluster in place of one without a head."""
        self.cluster.stop()
        self.cluster = LocalCluster()

    def close(self) -> None:
        if self.driver.poll() is None:
            self.kill_driver()
        self.cluster.stop()


def raylet(share: float) -> Callable[[Round], int]:
    """kill -9 of the raylet under which a shard is at work."""
    def strike(the: Round) -> int:
        caught = the.caught(share=share, writing=True)
        the.proof = caught.proof()
        send(the.raylet_of(caught), signal.SIGKILL)
        let_go(caught.pid)
        return the.work.end(the.driver)
    return strike


def both_raylets(the: Round) -> int:
    """kill -9 of all raylets, a shard at work under each; then new ones join."""
    caught = []
    for pid in the.cluster.raylets:
        caught.append(the.caught(share=0.3, below=pid, writing=True))
    the.proof = {"shards": [one.proof() for one in caught]}
    struck, the.cluster.raylets = the.cluster.raylets, []
    for pid in struck:
        send(pid, signal.SIGKILL)
    for one in caught:
        let_go(one.pid)
    for _ in struck:
        the.cluster.join()
    return the.work.end(the.driver)


def head_and_driver(the: Round) -> int:
    """kill -9 of head and driver at once, a shard at work; then a new cluster, and the same command again."""
    caught = the.caught(share=0.3, writing=True)
    the.proof = caught.proof()
    for pid in the.cluster.head():
        send(pid, signal.SIGKILL)
    the.kill_driver()
    let_go(caught.pid)
    the.anew()
    return the.again()


def head_alone(the: Round) -> int:
    """kill -9 of the head alone: the driver goes on with what it has, ends by itself, and must not say "done" unless it is."""
    caught = the.caught(share=0.3, writing=True)
    the.proof = caught.proof()
    for pid in the.cluster.head():
        send(pid, signal.SIGKILL)
    let_go(caught.pid)
    code = the.work.end(the.driver)
    the.proof["driver"] = code
    the.anew()
    return code if code in (0, 1) else the.again()


def shard(share: float) -> Callable[[Round], int]:
    """kill -9 of a shard's process while its temporary is open."""
    def strike(the: Round) -> int:
        caught = the.caught(share=share, writing=True)
        the.proof = caught.proof()
        send(caught.pid, signal.SIGKILL)
        code = the.work.end(the.driver)
        if not any(line.get("dispatched", {}).get("failed") for line in the.work.lines()):
            raise RuntimeError("the dispatcher has not noticed that a shard's process died")
        return code
    return strike


def zombie(the: Round) -> int:
    """A machine hangs: raylet, worker and shard stand still, are given up, another makes the shard, all is committed. Then the
    shard's process wakes and goes on.
    """
    caught = the.caught(share=0.4, writing=True)
    the.proof = caught.proof()
    hung = [parent_of(caught.pid), the.raylet_of(caught)]
    for pid in hung:
        freeze(pid)
    code = the.work.end(the.driver)
    if not is_alive(caught.pid):
        raise Missed("the shard's process has died")
    the.proof["asleep through the commit"] = True
    let_go(caught.pid)
    if not wait_for(lambda: not is_alive(caught.pid), 60, 0.01):
        raise RuntimeError("the process that slept does not end")
    for pid in hung:
        send(pid, signal.SIGKILL)
    return code


def committer(the: Round) -> Optional[int]:
    """The driver's `sermill commit`, once it runs."""
    def find():
        for name in children(the.driver.pid):
            if command_of(name)[1:2] == ["commit"]:
                return name
        return the.driver.poll() is not None and -1
    found = wait_for(find, PATIENCE_S, 0.0005)
    if not found or found < 0:
        raise Missed("the commit was done before it was seen")
    return found


def children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(name) for name in file.read().split()]
    except OSError:
        return []


def before_publishing(the: Round) -> int:
    """kill -9 of the committer: all shards are staged, nothing is announced."""
    plan = the.plan()
    pid = committer(the)
    pending, pointer = announced(plan)
    if not freeze(pid) or pending.exists() or pointer.exists():
        let_go(pid)
        raise Missed("the commit was too far on")
    the.proof = {"staged": f"{len(plan.staged())}/{len(plan.shards)}", "announced": False}
    if len(plan.staged()) < len(plan.shards):
        let_go(pid)
        raise Missed("not all was staged any more")
    send(pid, signal.SIGKILL)
    the.proof["driver"] = the.work.end(the.driver)
    return the.again()


def between_announcement_and_pointer(the: Round) -> int:
    """kill -9 of the committer: it has announced its commit, and the pointer has not moved."""
    plan = the.plan()
    pending, pointer = announced(plan)
    pid = committer(the)
    path, end = str(pending), time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < end:
        if os.path.exists(pointer):
            break
    if not freeze(pid) or not pending.exists() or pointer.exists():
        let_go(pid)
        raise Missed("the pointer had moved already")
    the.proof = {"announced": True, "pointer": "as before"}
    send(pid, signal.SIGKILL)
    the.proof["driver"] = the.work.end(the.driver)
    return the.again()


def announced(plan: Plan) -> tuple:
    index = plan.store / "index"
    return index / f"{plan.stage}.pending.json", index / f"{plan.stage}.json"


# Name, stage, kill: twelve.
KILLS: list[tuple[str, str, Callable[[Round], int]]] = [
    ("raylet at 25 %", "features", raylet(0.25)),
    ("raylet at 50 %", "score", raylet(0.5)),
    ("raylet at 75 %", "features", raylet(0.75)),
    ("both raylets", "features", both_raylets),
    ("both raylets", "score", both_raylets),
    ("head and driver", "features", head_and_driver),
    ("head alone", "score", head_alone),
    ("shard", "features", shard(0.3)),
    ("shard", "score", shard(0.6)),
    ("zombie", "features", zombie),
    ("committer before it publishes", "features", before_publishing),
    ("committer between announcement and pointer", "score", between_announcement_and_pointer),
]
