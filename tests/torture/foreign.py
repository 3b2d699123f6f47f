"""What is not sermill's: files of the user beside and inside its folders, and names that a model file would choose."""

import hashlib
import os
from pathlib import Path

import onnx_edit
from mill import STAGES, Tally
from scenes import INPUT, chains, changed_corpus, corpus

SYNTH = ["--speakers", "1", "--statements", "1", "--repetitions", "1"]


def tree(root):
    """Every entry below a folder with what it holds; links are not followed."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = "-> " + os.readlink(path)
        elif path.is_file():
            found[str(path.relative_to(root))] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        elif path.is_dir():
            found[str(path.relative_to(root))] = "folder"
    return found


def lost(before, root):
    """Problems: entries that are gone or changed."""
    now = tree(root)
    gone = [path for path in before if path not in now]
    other = [path for path in before if path in now and now[path] != before[path]]
    return ([("gone", f"of the user's: {', '.join(gone[:5])}")] if gone else []) \
        + ([("changed", f"of the user's: {', '.join(other[:5])}")] if other else [])


def joined(before, root, expected):
    """Problems: entries that are new and that nobody asked for."""
    new = [path for path in tree(root) if path not in before and not any(path == one or path.startswith(one + "/")
                                                                         for one in expected)]
    return [("litter", f"left behind: {', '.join(new[:5])}")] if new else []


def strew(folder, *names):
    """Files of the user's; a name that ends in a slash is a folder with files of its own."""
    for name in names:
        place = folder / name
        if name.endswith("/"):
            strew(place, "one.txt", "deep/two.txt")
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"precious {name}\n")


def foreign(mill, reader):
    tally = Tally("foreign", mill)
    cases = [("synth .", synth_here), ("synth ..", synth_above), ("synth ./", synth_here), ("synth x.v1", synth_beside),
             ("synth x", synth_beside), ("synth x/../y", synth_beside),
             ("inspect d/happy.svg", inspect_there), ("inspect happy.svg", inspect_bare),
             ("inspect happy.svg on a folder", inspect_on_a_folder), ("inspect d.staging/happy.svg", inspect_there),
             ("store in a folder of the user's", store_here)]
    places = [(f"inside {place}", inside) for place in INSIDE]
    cases = [*mill.some("foreign", cases, len(cases), name=first), *mill.some("foreign", places, 6, name=first)]
    mill.each(tally, cases,
              lambda case: case[1](mill, reader, case[0]), name=first)
    return tally


def first(case):
    return case[0]


def yard(mill):
    """A folder of the user's in a folder of the user's, with things lying about."""
    outer = mill.folder("yard")
    strew(outer, "precious.txt", "mine/", "a/precious.txt", "a/mine/", "a.staging/", "a/.hidden")
    return outer


def ends(ended, codes=(0,)):
    """Problems of how it ended; refusing with a word is fine where `codes` has 2."""
    return ended.crash() or ([] if ended.code in codes else [("exit-code", f"ended with {ended.code}: {ended.last()}")])


def told(outer, *ended):
    return [f"cd {outer}"] + [part for one in ended for part in (one.command, f"-> {one.code}: {one.last()}")]


def synth_here(mill, reader, case):
    outer = yard(mill)
    before = tree(outer)
    ended = mill.run([*case.split(), *SYNTH], cwd=outer / "a")
    return ends(ended, (0, 2)) + lost(before, outer) + joined(before, outer, ["a/speaker_01"]), told(outer, ended)


def synth_above(mill, reader, case):
    outer = yard(mill)
    before = tree(outer)
    ended = mill.run([*case.split(), *SYNTH], cwd=outer / "a")
    return ends(ended, (0, 2)) + lost(before, outer) + joined(before, outer, ["speaker_01"]), told(outer, ended)


def synth_beside(mill, reader, case):
    outer = yard(mill)
    folder = outer / "a"
    # With .., x must be there; what lies in it is the user's.
    strew(folder, "x/keep.txt", "x.v1/keep.txt", "x.staging/", "x.v1.staging/", "y.staging/", "x.partial/")
    before = tree(outer)
    ended = mill.run([*case.split(), *SYNTH], cwd=folder)
    name = case.split()[1].split("/")[-1]
    return ends(ended) + lost(before, outer) + joined(before, outer, [f"a/{name}"]), told(outer, ended)


def recording(mill):
    return str(sorted((corpus(mill) / "synthetic").rglob("*.wav"))[0])


def inspect_there(mill, reader, case):
    outer = yard(mill)
    out = case.split()[1]
    strew(outer / "a", "d/happy.staging/", "d/happy.svg.staging/", "d/notes.txt", "d.staging/happy.staging/")
    before = tree(outer)
    ended = mill.run(["inspect", recording(mill), "--out", out], cwd=outer / "a")
    return is_picture(ended, outer / "a" / out) + lost(before, outer) + joined(before, outer, [f"a/{out}"]), told(outer, ended)


def is_picture(ended, file):
    found = ends(ended)
    if not found and (not file.is_file() or b"<svg" not in file.read_bytes()[:500]):
        found = [("no-picture", f"{file.name} is not there")]
    return found


def inspect_bare(mill, reader, case):
    outer = yard(mill)
    before = tree(outer)
    ended = mill.run(["inspect", recording(mill), "--out", "happy.svg"], cwd=outer / "a")
    problems = is_picture(ended, outer / "a" / "happy.svg")
    return problems + lost(before, outer) + joined(before, outer, ["a/happy.svg"]), told(outer, ended)


def inspect_on_a_folder(mill, reader, case):
    outer = yard(mill)
    strew(outer / "a", "happy.svg/")
    before = tree(outer)
    ended = mill.run(["inspect", recording(mill), "--out", "happy.svg"], cwd=outer / "a")
    return ends(ended, (2, 3)) + lost(before, outer) + joined(before, outer, []), told(outer, ended)


def store_here(mill, reader, case):
    """The user's own folder as a store: sermill's folders join it, and nothing else happens."""
    outer = yard(mill)
    before = tree(outer)
    corpora = corpus(mill)
    ended = [mill.run(mill.args(stage, corpora, outer / "a")) for stage in STAGES]
    problems = [problem for one in ended for problem in ends(one)]
    return problems + lost(before, outer), told(outer, *ended)


# Places inside a store; a star is whatever lies there.
INSIDE = ["tables/features/v*", "tables/manifest/v*", "tables/predictions/v*", "tables/features", "tables", "staging",
          "staging/features", "staging/train", "plans/features", "models", "models/*", "reports", "reports/*", "index",
          "index/features", "locks", ".", "tables/features/v* through a link"]


def inside(mill, reader, case):
    """Files that a user put into a store must outlast every stage that replaces what lies beside them."""
    place = case.removeprefix("inside ").removesuffix(" through a link")
    scenes = chains(mill, reader)
    store = mill.copy(scenes["empty/score-input"].after)
    if case.endswith("link"):
        (store / "tables" / "features").rename(store.parent / "elsewhere")
        (store / "tables" / "features").symlink_to(store.parent / "elsewhere")
    found = sorted(store.glob(place)) if place != "." else [store]
    folder = found[-1] if found else store / place
    strew(folder, "notes.txt", "mine/")
    mine = {path: text for path, text in tree(folder).items() if path.split("/")[0] in ("notes.txt", "mine")}
    # First the same model and report once more, so that their own folders are replaced, then everything.
    (store / "index" / "train.json").unlink(missing_ok=True)
    ended = [mill.run(mill.args(stage, corpus(mill), store, more)) for stage, more in SAME]
    ended += [mill.run(mill.args(stage, changed_corpus(mill), store, more)) for stage, more in REPLACED]
    # A stage may say that something lies in its way.
    problems = [problem for one in ended for problem in ends(one, (0, 1, 2, 3))]
    problems += lost(mine, folder) if folder.is_dir() else [("gone", f"the folder {place} itself")]
    if not problems and any(one.code == 3 for one in ended):
        problems = [("exit-code", next(one.last() for one in ended if one.code == 3))]
    steps = [f"put notes.txt and mine/ into {place}", *told(store, *ended)]
    mill.drop(store.parent)
    return problems, steps


SAME = [("train", []), ("report", ["--set", "report.bootstrap=60"])]
REPLACED = [("ingest", []), ("features", []), ("train", []), ("score", []), ("report", []),
            ("features", ["--set", "features.shard_recordings=3"]), ("train", ["--set", "train.epochs=3"]),
            ("score", ["--set", "score.device=native"]), ("report", ["--set", "report.bootstrap=60"])]


# ---- model-id


def bad_ids(outer):
    return {"sibling": b"../models", "tables": b"../../tables", "outside": b"../../../../victim",
            "absolute": str(outer / "evil").encode(), "long": b"x" * 300, "empty": b"", "dot": b".", "dots": b"..",
            "slash": b"a/b", "nul": b"a\0b", "newline": b"a\nb", "escape": b"\x1b[31mred", "backslash": b"..\\models",
            "capital": b"MODEL", "not UTF-8": b"\xff\xfe"}


def model_id(mill, reader):
    tally = Tally("model-id", mill)
    names = [(name, command) for name in bad_ids(Path("/")) for command in ("score", "score-native", "score-input")]
    mill.each(tally, mill.some("model-id", names, 9, name="/".join), lambda one: bad_model(mill, reader, *one), name="/".join)
    return tally


def bad_model(mill, reader, name, command):
    """A model that names itself like a path: refused with 2, or nothing but predictions, metrics and a report of it."""
    scene = chains(mill, reader)["empty/score-input"]
    outer = mill.folder("outer")
    store = outer / "a" / "b" / "S"
    store.parent.mkdir(parents=True)
    mill.run_shell(["cp", "-a", scene.after, store])
    strew(outer, "a/precious.txt", "b.txt")
    given = next(store.glob("models/*/model.onnx")).read_bytes()
    model = outer / "given.onnx"
    model.write_bytes(onnx_edit.with_metadata(given, b"sermill.model_id", bad_ids(outer)[name]))
    before = tree(outer)
    more = ["--set", f"score.model={model}"] + (["--set", "score.device=native"] if command == "score-native" else [])
    stage = INPUT if command == "score-input" else "score"
    extra = [scene.corpora / "synthetic", *more] if stage == INPUT else more
    ended = [mill.run(mill.args(stage, scene.corpora, store, extra))]
    problems = ends(ended[0], (0, 2))
    if ended[0].code == 0:
        ended.append(mill.run(mill.args("report", scene.corpora, store)))
        problems += ends(ended[1], (0, 2))
    problems += harm(before, outer, store)
    steps = [f"sermill.model_id = {bad_ids(outer)[name][:60]!r}", *told(outer, *ended)]
    mill.drop(outer)
    return problems, steps


def harm(before, outer, store):
    """Nothing outside the store may change, and nothing in it but what score and report make."""
    own = f"{store.relative_to(outer)}/"
    may_change = tuple(own + place for place in ("tables/predictions", "tables/runs", "tables/metrics", "tables/confusion",
                                                 "tables/reliability",
                                                 "reports", "index", "staging", "locks"))
    now = tree(outer)
    differing = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
    return [("harm", f"{path}: {'new' if path not in before else 'gone' if path not in now else 'changed'}")
            for path in sorted(differing) if not path.startswith(may_change)][:5]
