"""Mutated input: no panic, no hang, an exit code from 0 to 3, and one row for each file."""

import resource
import shutil

import mutate
import onnx_edit
from mill import PROJECT, Tally
from scenes import chains, corpus
from truths import KIND, labels_of, write_labels

UNLABELLED = ["--set", 'ingest.corpus=[{kind="unlabelled",name="calls",root="."}]', "--set", 'split.protocol="unsplit"',
              "--set", "features.copies=0"]
# A recipe may ask for a large network: what it takes is bounded, so that the machine lives on.
LIMITS = [(resource.RLIMIT_AS, 6 << 30)]


def mutated(mill, reader):
    tally = Tally("mutated", mill)
    rounds = range(10) if mill.options.point else range(mill.number(10, 1))
    mill.each(tally, [*rounds, "cuts"], lambda i: recordings(mill, reader, tally, i), name=lambda i: f"recordings/{i}")
    for kind, count, work in [("recipe", 500, recipe), ("labels", 200, labels), ("card", 200, card), ("inspect", 400, inspect)]:
        numbers = range(count) if mill.options.point else range(mill.number(count, 3))
        mill.each(tally, numbers, lambda i, work=work: work(mill, reader, tally, i), name=lambda i, kind=kind: f"{kind}/{i}")
    return tally


def ordinary(*ended):
    return [problem for one in ended for problem in one.crash()]


def samples(mill):
    """Recordings of all dialects that the project synthesised, and a synthetic voice."""
    def read():
        files = [path for path in sorted((PROJECT / "tests" / "samples").iterdir()) if path.suffix not in (".py", ".md")]
        voice = sorted((corpus(mill) / "synthetic").rglob("*.wav"))[0]
        return [(path.name, path.read_bytes()) for path in [*files, voice]]
    return mill.once("samples", read)


def mutant(mill, i, j):
    known = samples(mill)
    dice = mill.dice("recordings", i, j)
    name, content = known[j % len(known)]
    return f"{j:04}-{name}", mutate.mutated(content, dice.choice(known)[1], dice)


def recordings(mill, reader, tally, i):
    """A folder of damaged recordings, through ingest and features, and scored as a folder."""
    folder = mill.folder("mutants")
    n_files = max(20, round(414 * min(1.0, mill.share * 4)))
    if i == "cuts":
        n_files = cuts(mill, folder)
    else:
        for j in range(n_files):
            name, content = mutant(mill, i, j)
            (folder / name).write_bytes(content)
    store = mill.folder("mutated") / "S"
    ended = [mill.run(mill.args(stage, folder, store, UNLABELLED), patience_s=60) for stage in ("ingest", "features")]
    model = next(chains(mill, reader)["empty/score"].prefix.glob("models/*/model.onnx"))
    ended.append(mill.run(mill.args("score --input", folder, store, [folder, *UNLABELLED, "--set", f"score.model={model}"]),
                          patience_s=60))
    problems = ordinary(*ended)
    problems += [("exit-code", one.last()) for one in ended if one.code not in (0, 1)]
    if not problems:
        problems += one_row_each(reader, store, n_files)
    tally.count("recordings", n_files)
    mill.drop(folder)
    mill.drop(store.parent)
    return problems, [f"mutate.mutated, seed {mill.options.seed}, round {i}, {n_files} files"] + \
        [step for one in ended for step in (one.command, f"-> {one.code}: {one.last()}")]


def cuts(mill, folder):
    """The first bytes of each sample, up to each seventh byte of its head and of some more."""
    step = 7 if mill.share == 1 else 70
    found = 0
    for name, content in samples(mill):
        for n in range(1, min(len(content), 400), step):
            (folder / f"{n:04}-{name}").write_bytes(content[:n])
            found += 1
    return found


def one_row_each(reader, store, n_files):
    problems = []
    rows = reader.select(store, "manifest", ["path", "status", "reject_reason", "duplicate_of"])
    said = reader.select(store, "predictions", ["path", "status", "reject_reason"])
    for table, found in (("manifest", rows), ("predictions", said)):
        if len({row[0] for row in found}) != n_files or len(found) != n_files:
            problems.append(("rows", f"{len(found)} rows in {table} for {n_files} files"))
        problems += [("no-reason", f"{table}: {row[0]}") for row in found if row[1] == "rejected" and not row[2]][:1]
    usable = [row[0] for row in rows if row[1] == "ok" and not row[3]]
    features = reader.select(store, "features", ["recording_id"]) if usable else []
    if len(features) != len(usable):
        problems.append(("rows", f"{len(features)} rows in features for {len(usable)} usable recordings"))
    return problems


def told(ended, what):
    return [what, ended.command, f"-> {ended.code}: {ended.last()}"]


def inspect(mill, reader, tally, i):
    name, content = mutant(mill, "inspect", i)
    folder = mill.folder("inspect")
    (folder / name).write_bytes(content)
    ended = mill.run(["inspect", str(folder / name), "--out", str(folder / "x.svg")])
    problems = ordinary(ended) or ([] if ended.code in (0, 2) else [("exit-code", ended.last())])
    mill.drop(folder)
    return problems, told(ended, f"mutant inspect {i}, seed {mill.options.seed}")


def recipe(mill, reader, tally, i):
    """A mutated recipe: `status` reads it, and what passes is run as far as the spectrograms."""
    folder = mill.folder("recipe")
    file = folder / "demo.toml"
    file.write_text(mutate.mutated_text(mill.pipeline.read_text(), mill.dice("recipe", i)))
    corpora = folder / "corpora"
    few = sorted((corpus(mill) / "synthetic").rglob("*.wav"))[:3]
    (corpora / "synthetic" / "speaker_01").mkdir(parents=True)
    for recording in few:
        shutil.copy2(recording, corpora / "synthetic" / "speaker_01")
    ended = [mill.run(mill.args("status", corpora, folder / "S", pipeline=file, sets=[]), limits=LIMITS)]
    problems = ordinary(ended[0])
    if ended[0].code == 0:
        tally.count("recipes that run")
        for stage in ("ingest", "features"):
            ended.append(mill.run(mill.args(stage, corpora, folder / "S", pipeline=file, sets=[]), limits=LIMITS))
            problems += ordinary(ended[-1])
            if ended[-1].code > 1:
                break
    mill.drop(folder)
    return problems, told(ended[-1], f"mutated recipe {i}, seed {mill.options.seed}")


def labels(mill, reader, tally, i):
    folder = mill.folder("labels")
    place = folder / "synthetic"
    place.mkdir()
    few = sorted((corpus(mill) / "synthetic").rglob("*.wav"))[:6]
    for recording in few:
        shutil.copy2(recording, place)
    write_labels(place, labels_of(place))
    text = (place / "labels.csv").read_text()
    (place / "labels.csv").write_bytes(mutate.mutated_bytes_of_text(text, mill.dice("labels", i)))
    ended = mill.run(mill.args("ingest", folder, folder / "S", ["--set", KIND]))
    problems = ordinary(ended)
    if not problems and ended.code in (0, 1):
        rows = reader.select(folder / "S", "manifest", ["path"])
        if len(rows) != len(few):
            problems = [("rows", f"{len(rows)} rows for {len(few)} recordings")]
    elif not problems and (ended.code != 2 or "labels.csv" not in ended.message):
        problems = [("exit-code", f"{ended.code}: {ended.last()}")]
    mill.drop(folder)
    return problems, told(ended, f"mutated labels.csv {i}, seed {mill.options.seed}")


def card(mill, reader, tally, i):
    """A model file of which one entry of the metadata is mutated."""
    scene = chains(mill, reader)["empty/score"]
    model = next(scene.prefix.glob("models/*/model.onnx")).read_bytes()
    dice = mill.dice("card", i)
    key, value = dice.choice(sorted(onnx_edit.metadata(model).items()))
    changed = mutate.mutated(value, model, dice)[:100_000]
    store = mill.copy(scene.prefix)
    file = store.parent / "m.onnx"
    file.write_bytes(onnx_edit.with_metadata(model, key, changed))
    device = dice.choice(["cpu", "native"])
    ended = mill.run(scene.args(mill, store) + ["--set", f"score.model={file}", "--set", f"score.device={device}"])
    problems = ordinary(ended)
    if not problems and ended.code == 3:
        problems = [("exit-code", f"a model file is input, not the machine: {ended.last()}")]
    mill.drop(store.parent)
    return problems, told(ended, f"mutated card {i}: {key!r}, seed {mill.options.seed}")
