"""Names, links, devices and pipes that nobody expects: every recording has its row, nothing hangs, no terminal is steered."""

import os
import re
import resource
import shutil
import socket

from fuzz import UNLABELLED
from mill import Tally
from scenes import chains, corpus
from truths import KIND, labels_of, write_labels

# Names of usable recordings, as bytes.
NAMES = [b"a\\b.wav", b"a/b.wav", b"\xff.wav", b"\xfe.wav", b"bad\xc3.wav", b"new\nline.wav", b'quo"te.wav', b"apos'trophe.wav",
         "\U0001f600.wav".encode(), "\u202egpj.wav".encode(), "\u65e5\u672c\u8a9e.wav".encode(), "\u00e9.wav".encode(),
         "e\u0301.wav".encode(), b"x" * 251 + b".wav", b"\x1b[31mred.wav", b"\x1b]0;title\x07.wav", "c1 \u009b31m.wav".encode(),
         b"-dash.wav", b"--help.wav", b" .wav", b".hidden.wav", b"tab\t.wav", b"cr\rover.wav", b"%s%n.wav", b"$(id).wav",
         b"nul", b"UPPER.WAV", b"a b,c.wav", b"folder\nof lines/x.wav", b"\x1b[2Jfolder/x.wav", b"*.wav", b"?.wav", b"~.wav",
         b"C:\\x.wav", b"\\\\server\\x.wav", b"back\\slash/x.wav"]
# Broken recordings, whose names come up in messages.
BROKEN = [b"\x1b[31mbroken.wav", b"broken\nerror: all is lost.wav", "broken \u009b31m.wav".encode(), b"broken\rover.wav",
          "broken \u202e.wav".encode(), b"broken\xff.wav", b"broken\x07\x08\x7f.wav"]
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def hostile(mill, reader):
    tally = Tally("hostile", mill)
    cases = [("names", names), ("kinds", kinds), ("loops", loops), ("labels without files", missing_labels),
             ("two folders of the same names", two_folders), ("deep path", deep), ("corpus root /", root),
             ("inspect a FIFO", fifo), ("inspect a device", fifo), ("pipeline is a FIFO", fifo), ("labels.csv is a FIFO", fifo),
             ("model is a FIFO", fifo), ("long path of a recording", long_path), ("long path of corpora", long_path),
             ("long path of a store", long_path), ("inspect names", inspect_names)]
    mill.each(tally, cases, lambda case: many_points(mill, reader, tally, *case), name=lambda case: case[0])
    return tally


def many_points(mill, reader, tally, name, work):
    """A case may be several points: pairs of name and problems."""
    points, steps = work(mill, reader, name)
    for point, problems in points:
        tally.point(point, problems, steps)
    return None


def told(*ended):
    return [step for one in ended for step in (one.command, f"-> {one.code}: {one.last()!r}")]


def steers(ended, name):
    """Control characters in what goes to stderr."""
    found = sorted({match for match in CONTROL.findall(ended.err.decode("utf-8", "replace"))})
    problems = [("control", f"stderr has {found}: {ended.last()!r}")] if found else []
    if re.search(rb"^error: all is lost", ended.err, re.M):
        problems.append(("forged", "a line of stderr was written by a file name"))
    return [(f"control characters/{name}", problems)]


def alive(ended, name, codes):
    problems = ended.crash()
    if not problems and ended.code not in codes:
        problems = [("exit-code", f"ended with {ended.code}: {ended.last()}")]
    return [(name, problems)]


def voices(mill):
    return [path.read_bytes() for path in sorted((corpus(mill) / "synthetic").rglob("*.wav"))]


def put(folder, name, content):
    place = os.path.join(os.fsencode(folder), name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as out:
        out.write(content)


def different(mill, i):
    """A usable recording of bytes of its own."""
    known = voices(mill)
    return known[i % len(known)] + b"LIST\x04\0\0\0" + i.to_bytes(4, "little")


def through_stages(mill, folder, store):
    """Ingest, features, and the folder scored on its own."""
    model = next(chains_model(mill))
    ended = [mill.run(mill.args(stage, folder, store, UNLABELLED)) for stage in ("ingest", "features")]
    more = [folder, *UNLABELLED, "--set", f"score.model={model}"]
    return [*ended, mill.run(mill.args("score --input", folder, store, more))]


def chains_model(mill):
    return mill.things["scenes"]["empty/score"].prefix.glob("models/*/model.onnx")


def names(mill, reader, case):
    chains(mill, reader)
    folder, store = mill.folder("names") / "corpus", mill.folder("store") / "S"
    usable = [name for name in NAMES if name.lower().endswith(b".wav")]
    for i, name in enumerate(usable):
        put(folder, name, different(mill, i))
    for name in BROKEN:
        put(folder, name, b"not a recording " + name)
    ended = through_stages(mill, folder, store)
    points = [point for stage, one in zip(("ingest", "features", "score --input"), ended)
              for point in [*alive(one, f"names/{stage}", (0, 1)), *steers(one, f"names/{stage}")]]
    rows = reader.select(store, "manifest", ["recording_id", "status", "reject_reason"])
    said = reader.select(store, "predictions", ["recording_id", "status", "reject_reason"])
    spectra = reader.select(store, "features", ["recording_id", "status", "reject_reason"])
    n_all = len(usable) + len(BROKEN)
    for table, found, wanted, good in (("manifest", rows, n_all, len(usable)), ("predictions", said, n_all, len(usable)),
                                       ("features", spectra, len(usable), len(usable))):
        points.append((f"names/rows of {table}", wrong_rows(found, wanted, good)))
    mill.drop(folder.parent)
    mill.drop(store.parent)
    return points, told(*ended)


def wrong_rows(found, wanted, good):
    problems = []
    if len(found) != wanted:
        problems.append(("rows", f"{len(found)} rows for {wanted} recordings"))
    ids = [row[0] for row in found]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        problems.append(("not-unique", f"recording_id {twice[:3]!r}"))
    rejected = [row for row in found if row[1] == "rejected"]
    if len(found) - len(rejected) != good:
        problems.append(("rejected", f"{len(found) - len(rejected)} usable of {good}: {[row for row in rejected][:3]!r}"))
    return problems


def kinds(mill, reader, case):
    """Entries named .wav that are no files each have a row; others have none."""
    chains(mill, reader)
    folder, store = mill.folder("kinds") / "corpus", mill.folder("store") / "S"
    for i in range(3):
        put(folder, f"good{i}.wav".encode(), different(mill, i))
    os.mkfifo(folder / "fifo.wav")
    for name, target in [("null.wav", "/dev/null"), ("zero.wav", "/dev/zero"), ("random.wav", "/dev/urandom"),
                         ("dangling.wav", "nowhere"), ("self.wav", "self.wav"), ("proc.wav", "/proc/self/environ")]:
        (folder / name).symlink_to(target)
    (folder / "notes.txt").symlink_to("nowhere")
    (folder / "empty.wav").touch()
    (folder / "folder.wav").mkdir()
    (folder / "link.wav").symlink_to("good0.wav")
    with_socket(folder / "socket.wav")
    wanted = sorted(path.name for path in folder.iterdir() if path.name.endswith(".wav") and path.name != "folder.wav")
    ended = through_stages(mill, folder, store)
    points = [point for stage, one in zip(("ingest", "features", "score --input"), ended)
              for point in alive(one, f"kinds/{stage}", (0, 1))]
    for table in ("manifest", "predictions"):
        found = [row[0] for row in reader.select(store, table, ["path"])]
        for name in wanted:
            points.append((f"kinds/{table}/{name}", [] if found.count(name) == 1 else
                           [("rows", f"{found.count(name)} rows in {table}")]))
        strange = [name for name in found if not name.endswith(".wav")]
        points.append((f"kinds/{table}/others", [("rows", f"a row for {strange}")] if strange else []))
    mill.drop(folder.parent)
    mill.drop(store.parent)
    return points, told(*ended)


def with_socket(path):
    """A socket's path may have 108 bytes at most: it is made in its folder."""
    with socket.socket(socket.AF_UNIX) as one:
        handle = os.open(path.parent, os.O_RDONLY)
        one.bind(f"/proc/self/fd/{handle}/{path.name}")
        os.close(handle)


def loops(mill, reader, case):
    """Folders that hold links to themselves and to each other."""
    chains(mill, reader)
    folder, store = mill.folder("loops") / "corpus", mill.folder("store") / "S"
    for i, name in enumerate((b"a/one.wav", b"b/two.wav")):
        put(folder, name, different(mill, i))
    (folder / "a" / "loop").symlink_to("..")
    (folder / "a" / "b").symlink_to("../b")
    (folder / "b" / "a").symlink_to("../a")
    ended = through_stages(mill, folder, store)
    points = [point for stage, one in zip(("ingest", "features", "score --input"), ended)
              for point in alive(one, f"loops/{stage}", (0, 1))]
    found = [row[0] for row in reader.select(store, "manifest", ["path"])]
    good = {"a/one.wav", "b/two.wav"} <= set(found) and len(set(found)) == len(found)
    points.append(("loops/rows", [] if good else [("rows", f"{found}")]))
    mill.drop(folder.parent)
    mill.drop(store.parent)
    return points, told(*ended)


def missing_labels(mill, reader, case):
    """A line of labels.csv that matches no file is told of."""
    folder = mill.folder("labels")
    place = folder / "synthetic"
    shutil.copytree(corpus(mill) / "synthetic", place)
    rows = labels_of(place)
    write_labels(place, [*rows, dict(rows[0], path="speaker_01/missing-one.wav")])
    ended = mill.run(mill.args("ingest", folder, folder / "S", ["--set", KIND]))
    points = alive(ended, "labels/ingest", (0, 1))
    said = "missing-one.wav" in ended.message or "missing-one.wav" in str(reader.select(folder / "S", "manifest", ["path"]))
    points.append(("labels/a line without a file", [] if said else [("no-word", "neither a row nor a word on stderr")]))
    mill.drop(folder)
    return points, told(ended)


def two_folders(mill, reader, case):
    """Two folders with the same file names, scored one after the other: their recordings differ in their ids."""
    chains(mill, reader)
    folder, store = mill.folder("two"), mill.folder("store") / "S"
    model = next(chains_model(mill))
    ended = []
    for i, name in enumerate((b"a", b"b", b"deeper/a")):
        put(folder, name + b"/same.wav", different(mill, i))
        place = folder / name.decode()
        ended.append(mill.run(mill.args("score --input", folder, store,
                                        [place, *UNLABELLED, "--set", f"score.model={model}"])))
    points = [point for one in ended for point in alive(one, "two folders/score --input", (0, 1))]
    ids = [tuple(row) for row in reader.select(store, "predictions", ["recording_id", "copy", "model_id"])]
    good = len(ids) == 3 and len(set(ids)) == 3
    points.append(("two folders/ids", [] if good else [("not-unique", f"{ids}")]))
    mill.drop(folder)
    mill.drop(store.parent)
    return points, told(*ended)


def deep(mill, reader, case):
    """A recording so deep that no path can name it."""
    chains(mill, reader)
    folder, store = mill.folder("deep") / "corpus", mill.folder("store") / "S"
    put(folder, b"good.wav", different(mill, 0))
    at = os.open(folder, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=at)
        at, old = os.open("d" * 200, os.O_RDONLY, dir_fd=at), at
        os.close(old)
    handle = os.open("far.wav", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.write(handle, different(mill, 1))
    os.close(handle)
    os.close(at)
    ended = through_stages(mill, folder, store)
    points = [point for stage, one in zip(("ingest", "features", "score --input"), ended)
              for point in alive(one, f"deep/{stage}", (0, 1, 2, 3))]
    if ended[0].code in (0, 1):
        rows = reader.select(store, "manifest", ["path"])
        # The recording itself, or the folder that could not be listed.
        told_of = len(rows) > 1 or "d" * 100 in ended[0].message
        points.append(("deep/rows", [] if told_of else [("no-word", f"{len(rows)} rows and no word of the deep folder")]))
    mill.drop(folder.parent)
    mill.drop(store.parent)
    return points, told(*ended)


def root(mill, reader, case):
    """The whole machine as a corpus: refused, or done in time."""
    store = mill.folder("store") / "S"
    more = ["--set", 'ingest.corpus=[{kind="unlabelled",name="calls",root="/"}]', *UNLABELLED[2:]]
    ended = mill.run(mill.args("ingest", "/", store, more))
    mill.drop(store.parent)
    return alive(ended, "corpus root /", (0, 1, 2, 3)), told(ended)


def fifo(mill, reader, case):
    """A pipe that nobody writes into must not be waited for."""
    chains(mill, reader)
    folder = mill.folder("fifo")
    pipe = folder / ("labels.csv" if "labels" in case else "pipe.wav")
    os.mkfifo(pipe)
    put(folder, b"good.wav", different(mill, 0))
    store = folder / "S"
    args = {"inspect a FIFO": ["inspect", str(pipe)], "inspect a device": ["inspect", "/dev/zero"],
            "pipeline is a FIFO": mill.args("ingest", folder, store, pipeline=pipe),
            "labels.csv is a FIFO": mill.args("ingest", folder, store, ["--set", KIND.replace("synthetic", ".")]),
            "model is a FIFO": mill.args("score", folder, store, ["--set", f"score.model={pipe}"])}[case]
    # A device has no end: what is read of it is bounded.
    ended = mill.run(args, limits=[(resource.RLIMIT_AS, 4 << 30)])
    mill.drop(folder)
    return alive(ended, case, (2, 3)), told(ended)


def long_path(mill, reader, case):
    """A path of 5,000 characters is refused by a message that fits a screen."""
    folder = mill.folder("long")
    long = "/" + "/".join(["p" * 99] * 50)
    args = {"long path of a recording": ["inspect", long + ".wav"],
            "long path of corpora": mill.args("ingest", long, folder / "S"),
            "long path of a store": mill.args("ingest", corpus(mill), long)}[case]
    ended = mill.run(args)
    points = alive(ended, case, (2, 3))
    lines = max((len(line) for line in ended.message.splitlines()), default=0)
    points.append((f"{case}/message", [("long", f"a line of {lines} characters")] if lines > 2000 else []))
    mill.drop(folder)
    return points, [one[:300] for one in told(ended)]


def inspect_names(mill, reader, case):
    """`inspect` and a recipe of these names: the messages steer no terminal."""
    folder = mill.folder("inspect")
    points, steps = [], []
    for name in BROKEN:
        put(folder, name, b"not a recording")
        file = os.path.join(os.fsencode(folder), name)
        for what, args in [("inspect", ["inspect", file]), ("pipeline", ["status", "--pipeline", file]),
                           ("missing", ["inspect", file + b".gone.wav"])]:
            ended = mill.run(args)
            points += alive(ended, f"{what} {name!r}", (2, 3)) + steers(ended, f"{what} {name!r}")
            steps += [f"{args}"[:200]]
    mill.drop(folder)
    return points, steps
