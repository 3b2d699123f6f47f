"""Corpora, stores before each stage, and what a calm run makes of them."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mill import STAGES
from store import Snapshot, snapshot

INPUT = "score --input"


@dataclass
class Scene:
    """One command on one prepared store."""

    name: str
    stage: str
    prefix: Path
    corpora: Path
    more: list = field(default_factory=list)
    # Tables before and after a calm run, and its exit code.
    old: Snapshot = None
    new: Snapshot = None
    code: int = 0
    # The store after it.
    after: Path = None

    def args(self, mill, store, threads=1):
        more = [self.corpora / "synthetic", *self.more] if self.stage == INPUT else self.more
        return mill.args(self.stage, self.corpora, store, more, threads)


def corpus(mill, speakers=3, statements=1):
    """Synthetic recordings in corpora/synthetic: 21 unless said otherwise."""
    def make():
        folder = mill.folder("corpora")
        mill.done(["synth", str(folder / "synthetic"), "--speakers", str(speakers), "--statements", str(statements),
                   "--repetitions", "1"])
        return folder
    return mill.once(f"corpus {speakers} {statements}", make)


def changed_corpus(mill):
    """The corpus with three recordings more, one of other bytes and one less."""
    def make():
        return change(corpus(mill), mill.folder("corpora") / "changed", corpus(mill, 4))
    return mill.once("changed corpus", make)


def change(source, target, larger):
    shutil.copytree(source, target)
    files = sorted((target / "synthetic").rglob("*.wav"))
    joining = [file for file in sorted((larger / "synthetic").rglob("*.wav")) if "speaker_04" in str(file)]
    for file in joining[:3]:
        place = target / "synthetic" / "speaker_04" / file.name
        place.parent.mkdir(exist_ok=True)
        shutil.copy2(file, place)
    # Other bytes under an old name, of another size, so that nobody needs the clock to see it.
    files[5].write_bytes(joining[4].read_bytes() + b"LIST\x04\0\0\0INFO")
    files[9].unlink()
    return target


def chains(mill, reader):
    """The scenes of the three scenarios, each stage on the store that the calm stages before it made."""
    def make():
        before, after = corpus(mill), changed_corpus(mill)
        empty = mill.folder("empty") / "S"
        empty.mkdir()
        found = chain(mill, reader, "empty", empty, before)
        full = found[-1].after
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(chain, mill, reader, "changed", full, after), pool.submit(again, mill, reader, full, before)]
            found += [scene for one in both for scene in one.result()]
        return {scene.name: scene for scene in found}
    return mill.once("scenes", make)


def chain(mill, reader, name, prefix, corpora):
    found = []
    for stage in [*STAGES, INPUT]:
        scene = Scene(f"{name}/{stage.replace(' --', '-')}", stage, prefix, corpora)
        found.append(calm(mill, reader, scene))
        prefix = scene.after
    return found


def again(mill, reader, full, corpora):
    """Stages that replace what they published: other settings, or a commit that is forgotten."""
    forgotten = mill.copy(full)
    (forgotten / "index" / "train.json").unlink(missing_ok=True)
    named = [("ingest", "ingest", full, ["--set", "split.test_fraction=0.3"]),
             ("features", "features", full, ["--set", "features.shard_recordings=3"]),
             ("train", "train", forgotten, []),
             ("train-more", "train", full, ["--set", "train.epochs=3"]),
             ("score", "score", full, ["--set", "score.device=native"]),
             ("report", "report", full, ["--set", "report.bootstrap=60"]),
             ("score-input", INPUT, full, ["--set", "score.device=native"])]
    return [calm(mill, reader, Scene(f"again/{name}", stage, prefix, corpora, more))
            for name, stage, prefix, more in named]


def calm(mill, reader, scene):
    """Runs the scene without any fault and keeps what came of it."""
    scene.old = snapshot(reader, scene.prefix)
    scene.after = mill.copy(scene.prefix)
    ended = mill.done(scene.args(mill, scene.after))
    scene.code = ended.code
    scene.new = snapshot(reader, scene.after)
    return scene


def run_chain(mill, corpora, store, stages=STAGES, more=(), threads=1):
    """Runs stages one after the other as `make` does; gives what ended, up to the first that cannot go on."""
    found = []
    for stage in stages:
        extra = [corpora / "synthetic", *more] if stage == INPUT else more
        found.append(mill.run(mill.args(stage, corpora, store, extra, threads)))
        if found[-1].code not in (0, 1):
            break
    return found


def names_a_file(ended, *folders):
    """Whether the error says which file it is about: one below the folders."""
    return any(os.fspath(folder) in ended.message for folder in folders)
