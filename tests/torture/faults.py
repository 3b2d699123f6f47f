"""Faults of single calls: errors while reading, kills, torn writes, full disks, in every scene and at every call."""

import os
import resource
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mill import NOBODY, STAGES, Tally
from scenes import Scene, chains, names_a_file, run_chain
from store import LASTING, RESULTS, TABLES, same_end, snapshot, whole_generations

TEARABLE = ("write", "pwrite", "pwrite64", "writev", "copy_file_range", "sendfile", "sendfile64")


@dataclass
class Point:
    """One fault: the n-th counted call of a scene."""

    scene: Scene
    groups: str
    n: int
    mode: str
    what: str
    below: str = ""

    def __str__(self):
        return f"{self.scene.name}/{self.mode}/{self.groups}/{self.n} ({self.what})"


def environment(mill, scene, store, log, groups, n=0, mode="", below=""):
    roots = f"{store / below}" if below else f"{store}:{scene.corpora}"
    return {"LD_PRELOAD": mill.shim, "TORTURE_ROOT": roots, "TORTURE_SET": groups, "TORTURE_AT": n,
            "TORTURE_MODE": mode, "TORTURE_LOG": log}


def counted(mill, scene):
    """The calls of a calm run in order: their groups, name, size, and path below store or corpora."""
    def count():
        store = mill.copy(scene.prefix)
        log = store.parent / "calls.log"
        mill.done(scene.args(mill, store), env=environment(mill, scene, store, log, "wors"))
        lines = log.read_text(errors="replace").splitlines()
        mill.drop(store.parent)
        found = []
        for line in lines:
            _, groups, name, size, path = line.split(" ", 4)
            found.append((groups, name, int(size), "." if path == str(store) else short(path, store, scene.corpora)))
        return found
    return mill.once(f"calls {scene.name}", count)


def count_all(mill, scenes):
    with ThreadPoolExecutor(mill.jobs) as pool:
        list(pool.map(lambda scene: counted(mill, scene), scenes))


def short(path, *roots):
    for root in roots:
        path = path.replace(f"{root}/", "")
    return path


def points_of(mill, scene, groups, mode, below=""):
    calls = [(name, size, path) for kinds, name, size, path in counted(mill, scene)
             if set(kinds) & set(groups) and (not below or path == below or path.startswith(below + "/"))]
    if "w" not in groups and mill.share < 1 and not mill.options.point:
        calls = first_of_each(calls)
    return [Point(scene, groups, n, mode, f"{name} {path}", below) for n, (name, size, path) in enumerate(calls, 1)
            if name and (mode != "torn" or (name in TEARABLE and size > 1))]


def first_of_each(calls):
    """Nothing in place of a call for which an earlier one on the same file stands: a share is one of those left."""
    seen = set()
    found = []
    for name, size, path in calls:
        found.append((None, 0, path) if (name, path) in seen else (name, size, path))
        seen.add((name, path))
    return found


def strike(mill, tally, point, limits=()):
    """Runs the scene on a copy of its store with the fault; nothing if the fault did not fire."""
    store = mill.copy(point.scene.prefix)
    log = store.parent / "fired.log"
    env = environment(mill, point.scene, store, log, point.groups, point.n, point.mode, point.below)
    ended = mill.run(point.scene.args(mill, store), env=env, limits=limits)
    fired = log.exists() and log.read_text(errors="replace").startswith("FIRED")
    if not fired:
        tally.count("unfired")
        mill.drop(store.parent)
        return None
    return store, ended, steps_of(point.scene, store, ended)


def steps_of(scene, store, *ended):
    found = [f"rm -rf {store}; mkdir -p {store.parent}; cp -a {scene.prefix} {store}"]
    for one in ended:
        found += [one.command, f"-> {one.code}: {one.last()}"]
    return found


# ---- kill, torn, enospc, eio-write


def write_faults(mill, reader, name, modes):
    tally = Tally(name, mill)
    scenes = chains(mill, reader).values()
    count_all(mill, scenes)
    points = [point for scene in scenes for mode in modes for point in points_of(mill, scene, "w", mode)]
    tally.extra["of"] = len(points)
    mill.each(tally, mill.some(name, points), lambda point: broken_write(mill, reader, tally, point))
    return tally


def broken_write(mill, reader, tally, point):
    struck = strike(mill, tally, point)
    if struck is None:
        return None
    store, ended, steps = struck
    scene = point.scene
    now = snapshot(reader, store)
    problems = whole_generations(now, scene.old, scene.new)
    if point.mode in ("kill", "torn"):
        if ended.code != -9:
            problems.append(("harness", f"was to be killed and ended with {ended.code}"))
    else:
        problems += machine_error(ended, scene, store, now)
    problems += heals(mill, reader, scene, store, steps)
    mill.drop(store.parent)
    return problems, steps


def machine_error(ended, scene, store, now):
    """A failing disk is exit code 3 and names a file; going on is fine if all is as it should be."""
    problems = ended.crash()
    if problems:
        return problems
    if ended.code in (0, scene.code):
        return [("silent", detail) for _, detail in same_end(now, scene.new) if "files in" not in detail]
    if ended.code != 3:
        return [("exit-code", f"ended with {ended.code}, the machine's fault is 3: {ended.last()}")]
    if not names_a_file(ended, store, scene.corpora):
        return [("unnamed", f"the message names no file: {ended.last()}")]
    return []


def heals(mill, reader, scene, store, steps, tables=TABLES):
    """The same command again, without a fault, must end as a calm run."""
    again = mill.run(scene.args(mill, store))
    steps += [again.command, f"-> {again.code}: {again.last()}"]
    problems = again.crash()
    if not problems and again.code != scene.code:
        problems = [("repeat", f"ended with {again.code} instead of {scene.code}: {again.last()}")]
    return problems + same_end(snapshot(reader, store, tables), scene.new, tables)


def kill(mill, reader):
    return write_faults(mill, reader, "kill", ["kill", "torn"])


def enospc(mill, reader):
    return write_faults(mill, reader, "enospc", ["enospc"])


def eio_write(mill, reader):
    return write_faults(mill, reader, "eio-write", ["eio"])


# ---- read-faults


def read_faults(mill, reader):
    tally = Tally("read-faults", mill)
    scenes = [scene for name, scene in chains(mill, reader).items() if not name.startswith("again/")]
    count_all(mill, scenes)
    kinds = [("ors", "eio"), ("o", "emfile"), ("o", "eacces")]
    points = [point for scene in scenes for groups, mode in kinds for point in points_of(mill, scene, groups, mode)]
    tally.extra["of"] = len(points)
    mill.each(tally, mill.some("read-faults", points), lambda point: broken_read(mill, reader, tally, point))
    for name, work in [("moved-away", moved_away), ("grown", grown), ("chmod-file", chmod), ("chmod-folder", chmod)]:
        mill.each(tally, [name], lambda name, work=work: work(mill, reader, name))
    return tally


def broken_read(mill, reader, tally, point):
    struck = strike(mill, tally, point)
    if struck is None:
        return None
    store, ended, steps = struck
    scene = point.scene
    now = snapshot(reader, store, RESULTS)
    # The ledger is left out: a run that read its inputs twice may rightly commit a second time.
    wrong = same_end(now, scene.new, RESULTS)
    problems = ended.crash() or whole_generations_or_rejects(ended, now, scene)
    if ended.code == 2:
        problems.append(("code-2", f"the machine's fault posed as wrong input: {ended.last()}"))
    if ended.code == 0 and wrong:
        problems.append(("silent", f"exit 0, and {wrong[0][1]}"))
    if ended.code == 3 and "delete" in ended.message:
        problems.append(("hint", f"tells to delete something: {ended.last()}"))
    if ended.code in (0, 1) and wrong:
        problems += whole_chain_heals(mill, reader, scene, store, steps)
    problems += [("lasting" if kind == "wrong" else kind, detail)
                 for kind, detail in heals(mill, reader, scene, store, steps, RESULTS)]
    mill.drop(store.parent)
    return problems, steps


def whole_generations_or_rejects(ended, now, scene):
    """A run that says that it rejected recordings may publish other rows; any other may not."""
    return [] if ended.code == 1 else whole_generations(now, scene.old, scene.new, RESULTS)


def whole_chain_heals(mill, reader, scene, store, steps):
    """Later stages went on from what the fault left, as they do under `make`: the chain again must bring the rows back."""
    other = mill.copy(store, "chain")
    first = STAGES.index(scene.stage) if scene.stage in STAGES else len(STAGES)
    run_chain(mill, scene.corpora, other, STAGES[first + 1:])
    again = run_chain(mill, scene.corpora, other)
    steps.append("then the stages after it, then all stages: " + ", ".join(str(one.code) for one in again))
    calm = chains(mill, reader)[scene.name.split("/")[0] + "/report"].new
    # Only rows: how recordings lie in shards, and so the id of the model, tells of the way here.
    problems = same_end(snapshot(reader, other), calm, ["manifest", "features"], exact=False)
    mill.drop(other.parent)
    return [("lasting", f"after the whole chain: {detail}") for _, detail in problems]


def moved_away(mill, reader, name):
    """A recording that is not there while `features` runs, and back afterwards with the time that it had."""
    scene = chains(mill, reader)["empty/features"]
    corpora = own_corpora(mill, scene)
    store = mill.copy(scene.prefix)
    recording = sorted((corpora / "synthetic").rglob("*.wav"))[3]
    first = mill.run(mill.args("ingest", corpora, store))
    recording.rename(corpora / "away")
    during = mill.run(mill.args("features", corpora, store))
    (corpora / "away").rename(recording)
    return back_again(mill, reader, scene, corpora, store, [first, during])


def grown(mill, reader, name):
    """A recording that is still being written while `ingest` and `features` run."""
    scene = chains(mill, reader)["empty/features"]
    corpora, store = own_corpora(mill, scene), mill.copy(scene.prefix)
    recording = sorted((corpora / "synthetic").rglob("*.wav"))[3]
    whole, facts = recording.read_bytes(), recording.stat()
    recording.write_bytes(whole[:len(whole) // 3])
    ended = [mill.run(mill.args("ingest", corpora, store))]
    recording.write_bytes(whole[:len(whole) // 2])
    ended.append(mill.run(mill.args("features", corpora, store)))
    recording.write_bytes(whole)
    os.utime(recording, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return back_again(mill, reader, scene, corpora, store, ended)


def own_corpora(mill, scene):
    folder = mill.folder("corpora") / "own"
    mill.run_shell(["cp", "-a", scene.corpora, folder])
    return folder


def back_again(mill, reader, scene, corpora, store, ended, user=None):
    ended += [mill.run(mill.args(stage, corpora, store), user=user) for stage in ("ingest", "features")]
    problems = [problem for one in ended for problem in one.crash()]
    wrong = same_end(snapshot(reader, store), scene.new, ["manifest", "features"], exact=False)
    problems += [("lasting", detail) for _, detail in wrong]
    steps = [step for one in ended for step in (one.command, f"-> {one.code}: {one.last()}")]
    mill.drop(store.parent)
    return problems, steps


def chmod(mill, reader, name):
    """A recording, or a folder of them, that may not be read while `ingest` and `features` run as another user."""
    scene = chains(mill, reader)["empty/features"]
    corpora = own_corpora(mill, scene)
    store = mill.copy(chains(mill, reader)["empty/ingest"].prefix)
    user = NOBODY if os.geteuid() == 0 else None
    if user is not None:
        mill.run_shell(["chown", "-R", f"{user}:{user}", corpora.parent, store.parent])
    recording = sorted((corpora / "synthetic").rglob("*.wav"))[3]
    place = recording if name == "chmod-file" else recording.parent
    mode = place.stat().st_mode
    place.chmod(0)
    during = [mill.run(mill.args(stage, corpora, store), user=user) for stage in ("ingest", "features")]
    place.chmod(mode)
    if during[0].code in (-1, 126, 127):
        raise RuntimeError(f"another user cannot run the program: {during[0].message}")
    return back_again(mill, reader, scene, corpora, store, during, user)


# ---- syncs


def syncs(mill, reader):
    """What a power cut may leave: a folder holds a new name for good only once it is synced itself.

    Read from the order of the calls: after each rename, link or mkdir of something that lasts its folder is synced, and
    before the run ends.
    """
    tally = Tally("syncs", mill)
    scenes = chains(mill, reader).values()
    count_all(mill, scenes)
    for scene in scenes:
        calls = [(name, path) for groups, name, _, path in counted(mill, scene) if "w" in groups]
        for i, (name, path) in enumerate(calls):
            # Of several tries to make a folder the last is the one that made it.
            if name.startswith(("rename", "link", "mkdir")) and lasts(path) and is_new(scene, path, name) \
                    and (name, path) not in calls[i + 1:]:
                folder = os.path.dirname(path) or "."
                synced = any(call in ("fsync", "fdatasync") and place == folder for call, place in calls[i:])
                problems = [] if synced else [("unsynced", f"{folder} is not synced after {name} {path}")]
                tally.point(f"{scene.name}/{i}/{name} {path}", problems, [shlex.join(scene.args(mill, "STORE"))])
    return tally


def lasts(path):
    return path.split("/")[0] in LASTING - {"locks"} and "/" in path or path in LASTING - {"locks"}


def is_new(scene, path, name):
    """`mkdir` of a folder that is there already changes nothing."""
    return not name.startswith("mkdir") or not (scene.prefix / path).exists()


# ---- exit-codes


def exit_codes(mill, reader):
    tally = Tally("exit-codes", mill)
    scenes = [chains(mill, reader)[f"empty/{stage}"] for stage in ("train", "score", "report")]
    points = [point for scene in scenes for groups, mode in [("ors", "eio"), ("o", "emfile")]
              for point in points_of(mill, scene, groups, mode, "tables")]
    tally.extra["of"] = len(points)
    mill.each(tally, mill.some("exit-codes", points), lambda point: broken_table(mill, reader, tally, point))
    limits = [(scene, n) for scene in scenes for n in (8, 12, 16, 24, 40)]
    limits = mill.some("exit-codes", limits, 3, name=lambda one: f"nofile/{one[0].name}/{one[1]}")
    mill.each(tally, limits, lambda one: few_files(mill, reader, *one), name=lambda one: f"nofile/{one[0].name}/{one[1]}")
    return tally


def broken_table(mill, reader, tally, point):
    struck = strike(mill, tally, point)
    if struck is None:
        return None
    store, ended, steps = struck
    problems = code_3(ended, lambda: same_end(snapshot(reader, store), point.scene.new))
    mill.drop(store.parent)
    return problems, steps


def code_3(ended, wrong):
    problems = ended.crash()
    if "delete" in ended.message:
        problems.append(("hint", f"tells to delete something: {ended.last()}"))
    if ended.code in (0, 1):
        problems += [("silent", detail) for _, detail in wrong()]
    elif ended.code == 2:
        problems.append(("code-2", ended.last()))
    return problems


def few_files(mill, reader, scene, n):
    """A process that may open only `n` files, on a store of many shards."""
    store = Path(mill.once("many shards", lambda: many_shards(mill, scene.corpora)))
    store = mill.copy(store)
    if scene.stage != "train":
        mill.done(mill.args("train", scene.corpora, store, MANY))
    if scene.stage == "report":
        mill.done(mill.args("score", scene.corpora, store, MANY))
    ended = mill.run(mill.args(scene.stage, scene.corpora, store, MANY), limits=[(resource.RLIMIT_NOFILE, n)])
    mill.drop(store.parent)
    return code_3(ended, list), [f"ulimit -n {n}", ended.command, f"-> {ended.code}: {ended.last()}"]


MANY = ["--set", "features.shard_recordings=1"]


def many_shards(mill, corpora):
    store = mill.folder("many") / "S"
    for stage in ("ingest", "features"):
        mill.done(mill.args(stage, corpora, store, MANY))
    return store
