"""Damage on disk: whatever a stage reads is changed a little or a lot, and must not be used without a word."""

from dataclasses import dataclass
from pathlib import Path

from faults import steps_of
from mill import STAGES, Tally
from scenes import INPUT, Scene, calm, chains
from store import same_output, snapshot, table_files

KINDS = ["bit", "zeros", "cut", "swapped", "appended", "emptied"]


@dataclass
class Case:
    """A file of a scene's store, and how it is damaged; the scene's command then reads it."""

    group: str
    number: int
    scene: Scene
    target: str
    how: str

    def __str__(self):
        return f"{self.group}/{self.number}/{self.scene.name}/{self.how}/{self.target}"


def damaged(content, how, dice):
    """Other bytes than `content`."""
    content = bytearray(content)
    size = len(content)
    if how == "bit":
        content[dice.randrange(size)] ^= 1 << dice.randrange(8)
    elif how == "page-bit":
        # The middle of a shard is spectrograms and nothing else.
        content[dice.randrange(size // 5, size * 4 // 5)] ^= 1 << dice.randrange(8)
    elif how == "zeros":
        start = dice.randrange(size)
        part = slice(start, min(size, start + dice.choice([8, 64, 512, 4096])))
        content[part] = bytes(len(content[part]))
    elif how == "cut":
        del content[dice.randrange(size):]
    elif how == "swapped":
        width = min(dice.choice([16, 64, 512]), size // 3)
        a, b = dice.randrange(size // 2 - width // 2), size // 2 + dice.randrange(size // 2 - width)
        content[a:a + width], content[b:b + width] = content[b:b + width], content[a:a + width]
    elif how == "appended":
        content += dice.randbytes(dice.choice([1, 8, 100]))
    elif how == "emptied":
        content.clear()
    elif how == "nonsense":
        content = bytearray(dice.randbytes(size))
    elif how == "longer nonsense":
        content = bytearray(dice.randbytes(size + 17))
    return bytes(content)


def damage(mill, reader):
    tally = Tally("damage", mill)
    cases = [*pages(mill, reader), *tables(mill, reader), *checkpoints(mill, reader), *models(mill, reader),
             *commits(mill, reader), *outputs(mill, reader)]
    mill.each(tally, mill.some("damage", cases, len(cases)) if mill.options.point else cases,
              lambda case: broken_file(mill, reader, tally, case))
    swapped = swaps(mill, reader)
    mill.each(tally, mill.some("damage", swapped, 8), lambda case: broken_file(mill, reader, tally, case))
    if mill.has_verify:
        verify(mill, reader, tally)
    else:
        tally.extra["verify"] = "this program has no `verify`"
    return tally


def files_of(scene, pattern):
    return sorted(str(path.relative_to(scene.prefix)) for path in scene.prefix.glob(pattern) if path.is_file())


def made_by(scene, table):
    """Files of a table that the scene's calm run made."""
    before = {str(path.relative_to(scene.prefix)) for path in table_files(scene.prefix, table)}
    found = [str(path.relative_to(scene.after)) for path in table_files(scene.after, table)]
    return [path for path in found if path not in before]


def cases(mill, group, full, scene, pattern, kinds):
    """The share of `full` damages, in turn over the files and the kinds."""
    files = [pattern] if (scene.prefix / pattern).is_file() else files_of(scene, pattern)
    count = full if mill.options.point else mill.number(full)
    if not files:
        # A reading of files that this program does not have; said, so that nobody takes it for measured.
        mill.say(f"torture: damage: {scene.name} has no {pattern}")
        return []
    start = mill.dice("damage", group, scene.name, pattern).randrange(1000)
    return [Case(group, i, scene, files[(start + i) % len(files)], kinds[(start + i // len(files)) % len(kinds)])
            for i in range(count)]


def pages(mill, reader):
    scenes = chains(mill, reader)
    return [case for stage in ("score", "train")
            for case in cases(mill, "page", 60, scenes[f"empty/{stage}"], "tables/features/v*/*.parquet", ["page-bit"])]


def readings(mill, reader):
    """Eleven times that a stage reads a table file: the scene and the file."""
    def make():
        scenes = chains(mill, reader)
        full, corpora = scenes["empty/score-input"].after, scenes["empty/score"].corpora
        wider = ["--set", 'score.splits=["train","validation","test"]']
        own = calm(mill, reader, Scene("own/score", "score", full, corpora, wider))
        own_input = calm(mill, reader, Scene("own/score-input", INPUT, full, corpora, ["--set", "score.batch=4"]))
        found = [("empty/features", "tables/manifest"), ("empty/train", "tables/features"),
                 ("empty/score", "tables/features"), ("empty/score", "tables/manifest"),
                 ("empty/report", "tables/predictions"), ("empty/report", "tables/history"),
                 ("empty/report", "tables/features"), ("changed/features", "tables/features")]
        found = [(scenes[name], f"{table}/v*/*.parquet") for name, table in found]
        return [*found, (own, made_by(scenes["empty/score"], "predictions")[0]),
                (own_input, made_by(scenes["empty/score-input"], "predictions")[0]),
                (scenes["changed/ingest"], "index/ingest/*")]
    return mill.once("readings", make)


def tables(mill, reader):
    return [case for scene, pattern in readings(mill, reader)
            for case in cases(mill, "table", 50, scene, pattern, KINDS)]


def checkpoints(mill, reader):
    scenes = chains(mill, reader)
    trained = scenes["empty/train"]
    more = mill.once("more epochs", lambda: calm(
        mill, reader, Scene("epochs/train", "train", trained.after, trained.corpora, ["--set", "train.epochs=4"])))
    return cases(mill, "checkpoint", 200, more, "index/train/*", KINDS)


def models(mill, reader):
    scenes = chains(mill, reader)
    on_cpu = scenes["empty/score"]
    native = mill.once("native", lambda: calm(
        mill, reader, Scene("native/score", "score", on_cpu.prefix, on_cpu.corpora, ["--set", "score.device=native"])))
    file = "models/*/model.onnx"
    return [*cases(mill, "model-native", 200, native, file, KINDS), *cases(mill, "model-cpu", 100, on_cpu, file, KINDS),
            *cases(mill, "model-bit", 120, on_cpu, file, ["bit"])]


def whole_chain(mill, reader):
    """A full store, on which every stage runs once more."""
    scenes = chains(mill, reader)
    last = scenes["empty/score-input"]
    return Scene("full/chain", "chain", last.after, last.corpora, new=last.new)


def commits(mill, reader):
    chain = whole_chain(mill, reader)
    return [*cases(mill, "index", 140, chain, "index/*.json", KINDS),
            *cases(mill, "index", 60, chain, "index/*/*.json", KINDS)]


def outputs(mill, reader):
    """What a stage published itself is nonsense or gone, and the stage runs again."""
    chain = whole_chain(mill, reader)
    places = {"ingest": ["tables/manifest/v*/*.parquet"], "features": ["tables/features/v*/*.parquet"],
              "train": ["models/*/model.onnx", "models/*/curves.svg", "tables/history/v*/*.parquet"],
              "score": made_by(chains(mill, reader)["empty/score"], "predictions"),
              "report": ["tables/metrics/v*/*.parquet", "tables/confusion/v*/*.parquet",
                         "tables/reliability/v*/*.parquet", "reports/*/report.md",
                         "reports/*/confusion-test.svg", "reports/*/spectrogram-sad.svg"]}
    found = []
    for stage, patterns in places.items():
        scene = Scene(f"own/{stage}", stage, chain.prefix, chain.corpora, new=chain.new)
        for pattern in patterns:
            for how in ("nonsense", "longer nonsense", "deleted"):
                found += [Case("output", len(found), scene, file, how) for file in files_of(scene, pattern)[:1]]
    return mill.some("damage", found, 6)


def swaps(mill, reader):
    """Table files that hold another file's bytes, or none."""
    found = []
    for scene, pattern in readings(mill, reader):
        if not pattern.startswith("tables"):
            continue
        targets = [pattern] if (scene.prefix / pattern).is_file() else files_of(scene, pattern)[:2]
        for target in targets:
            for how in ("other file", "other generation", "other table", "emptied"):
                found.append(Case("swap", len(found), scene, target, how))
    return found


def broken_file(mill, reader, tally, case):
    scene = case.scene
    store = mill.copy(scene.prefix)
    target = store / case.target
    if not spoil(mill, reader, case, store, target):
        mill.drop(store.parent)
        return None
    if scene.stage == "chain":
        ended, problems = chain_of(mill, reader, tally, case, store, target)
    else:
        ended = [mill.run(scene.args(mill, store))]
        problems = judge(mill, reader, tally, case, store, ended[0], target)
    mill.drop(store.parent)
    steps = steps_of(scene, store, *ended)
    steps.insert(1, f"damage: {case.how} in {case.target} (seed {mill.options.seed})")
    return problems, steps


def spoil(mill, reader, case, store, target):
    """Damages the file; says whether anything changed."""
    before = target.read_bytes()
    if case.how == "deleted":
        target.unlink()
        return True
    if case.how.startswith("other"):
        after = another_file(mill, reader, case, store, target)
    else:
        after = damaged(before, case.how, mill.dice("damage", case))
    if after is None or after == before:
        return False
    target.write_bytes(after)
    return True


def another_file(mill, reader, case, store, target):
    """Bytes of another file of the table, of the same table in another generation, or of another table."""
    table = Path(case.target).parts[1]
    here = [path for path in sorted(store.glob(f"tables/{table}/v*/*.parquet")) if path != target]
    there = chains(mill, reader)["changed/report"].after
    later = [path for path in sorted(there.glob(f"tables/{table}/v*/*.parquet"))
             if path.read_bytes() != target.read_bytes() and path.name not in {one.name for one in here}]
    others = [path for path in sorted(store.glob("tables/*/v*/*.parquet")) if path.parts[-3] != table]
    found = {"other file": here, "other generation": later, "other table": others}[case.how]
    return mill.dice("swap", case).choice(found).read_bytes() if found else None


def judge(mill, reader, tally, case, store, ended, target):
    """Refused by an error that names the file, or no other result: anything else was used without a word."""
    problems = ended.crash()
    if problems:
        return problems
    if ended.code not in (0, 1):
        tally.count("refused")
        named = target.name in ended.message
        return [] if named else [("unnamed", f"the message does not name {target.name}: {ended.last()}")]
    if same_output(snapshot(reader, store), case.scene.new, case.scene.stage):
        tally.count("healed or no effect")
        return []
    if case.group == "output":
        return [("fresh", f"{case.scene.stage} ended with {ended.code} and left it so: {ended.last()}")]
    return [("used", f"{case.scene.stage} ended with {ended.code} and another result")]


def chain_of(mill, reader, tally, case, store, target):
    """All stages on a store whose index is damaged."""
    ended = []
    for stage in [*STAGES, INPUT]:
        more = [case.scene.corpora / "synthetic"] if stage == INPUT else []
        ended.append(mill.run(mill.args(stage, case.scene.corpora, store, more)))
        problems = ended[-1].crash()
        if problems:
            return ended, problems
        if ended[-1].code not in (0, 1):
            tally.count("refused")
            named = target.name in ended[-1].message
            return ended, [] if named else [("unnamed", f"{target.name} is not named: {ended[-1].last()}")]
    now, calm_one = snapshot(reader, store), case.scene.new
    problems = [("used", f"table {table} differs after all stages") for table in ("manifest", "features")
                if now.rows.get(table) != calm_one.rows.get(table)]
    # The id of a model follows from fingerprints in the index; what it says must not.
    said = [set(reader.select(one, "predictions", ["recording_id", "copy", "predicted", "confidence"]))
            for one in (store, case.scene.prefix)]
    if said[0] != said[1]:
        problems.append(("used", "predictions differ after all stages"))
    if not problems:
        tally.count("healed or no effect")
    return ended, problems


# ---- verify


def verify(mill, reader, tally):
    """`sermill verify` must name every committed file that is damaged, and must be content with a whole store."""
    chain = whole_chain(mill, reader)
    content = mill.run(verify_args(mill, chain, chain.prefix))
    tally.point("verify/whole", [] if content.code == 0 else [("verify", f"a whole store: {content.last()}")],
                [content.command])
    found = [path for pattern in ("tables/*/v*/*.parquet", "models/*/*", "reports/*/*", "index/*.json")
             for path in files_of(chain, pattern)]
    found = [Case("verify", i, chain, path, how) for i, path in enumerate(found) for how in ("bit", "nonsense", "deleted")]
    mill.each(tally, mill.some("damage", found, 6), lambda case: unverified(mill, reader, case))


def verify_args(mill, scene, store):
    """With the arguments of a stage, or with the store alone: whichever the program takes."""
    def find():
        full = mill.args("verify", scene.corpora, scene.prefix)
        tried = mill.run(full)
        return tried.code == 2 and b"unexpected argument" in tried.err
    if mill.once("verify takes the store alone", find):
        return ["verify", "--store", str(store)]
    return mill.args("verify", scene.corpora, store)


def unverified(mill, reader, case):
    store = mill.copy(case.scene.prefix)
    target = store / case.target
    spoil(mill, reader, case, store, target)
    ended = mill.run(verify_args(mill, case.scene, store))
    problems = ended.crash()
    said = (ended.out + ended.err).decode("utf-8", "replace")
    if not problems and (ended.code != 2 or target.name not in said):
        problems = [("verify", f"ended with {ended.code} and {'named' if target.name in said else 'did not name'} it")]
    steps = [f"damage: {case.how} in {case.target}", ended.command, f"-> {ended.code}: {ended.last()}"]
    mill.drop(store.parent)
    return problems, steps
