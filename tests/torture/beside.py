"""Several processes at once: readers while stages publish, stages beside stages, and kills at any moment."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from faults import heals, steps_of
from mill import HERE, STAGES, Tally
from scenes import chains, changed_corpus, corpus, run_chain
from store import RESULTS, same_end, snapshot, whole_generations

# What a stage may say when another process has its lock.
LOCKED = "another process"
ENGINES = ["duckdb", "polars", "pandas"]
READERS_SECONDS = 75
PREDICTED = ["model_id", "corpus", "recording_id", "copy", "predicted", "confidence"]


# ---- readers


def readers(mill, reader):
    tally = Tally("readers", mill)
    store = mill.copy(chains(mill, reader)["empty/report"].after)
    model = next(store.glob("models/*/model.onnx"))
    # The model is not trained again: what changes are recordings, spectrograms, predictions.
    more = ["--set", f"score.model={model}"]
    generations = two_generations(mill, reader, store, more)
    file = store.parent / "generations.json"
    file.write_text(json.dumps(generations))
    # A share has to be quick as a whole: it reads for less than its part.
    seconds = READERS_SECONDS if mill.share >= 1 else max(3, READERS_SECONDS * mill.share * 0.6)
    started = [start_reading(reader, engine, store, file, seconds) for engine in ENGINES]
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        publish(mill, [corpus, changed_corpus][rounds % 2](mill), store, more)
        rounds += 1
    whole = 0
    for engine, process in zip(ENGINES, started):
        out, err = process.communicate()
        if process.returncode:
            tally.point(f"{engine} itself", [("harness", err[-800:])])
            continue
        found = json.loads(out.splitlines()[-1])
        whole += found["whole"]
        tally.count("gone", found["gone"])
        for problem in found["wrong"]:
            tally.point(f"{engine}", [(kind_of(problem), problem)], [f"{rounds} rounds of ingest, features, score"])
    tally.points += whole
    tally.extra |= {"whole": whole, "rounds": rounds}
    mill.drop(store.parent)
    return tally


def kind_of(problem):
    words = {"doubled": "doubled", "gone twice": "gone-twice", "of no generation": "mixture", " rows of ": "runs"}
    return next((kind for word, kind in words.items() if word in problem), "garbled")


def publish(mill, corpora, store, more):
    for stage in ("ingest", "features", "score"):
        mill.done(mill.args(stage, corpora, store, more if stage == "score" else ()))


def two_generations(mill, reader, store, more):
    """Digests of every table after a calm round over each corpus."""
    found = {table: [] for table in [*RESULTS, "runs"]}
    file = store.parent / "tables.json"
    file.write_text(json.dumps(found))
    for corpora in (changed_corpus(mill), corpus(mill)):
        publish(mill, corpora, store, more)
        process = start_reading(reader, "digest", store, file, 0)
        out, err = process.communicate()
        if process.returncode:
            raise RuntimeError(err[-800:])
        for table, digest in json.loads(out.splitlines()[-1]).items():
            found[table].append(digest)
    return found


def start_reading(reader, engine, store, file, seconds):
    argv = [*reader.python.argv, HERE / "reading.py", engine, store, file, seconds]
    return subprocess.Popen([str(part) for part in argv], env=reader.python.env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# ---- side-by-side


def side_by_side(mill, reader):
    tally = Tally("side-by-side", mill)
    cases = [(f"four of {stage}/{i}", four, stage) for i in range(10) for stage in STAGES]
    cases += [(f"five stages/{i}", many, STAGES) for i in range(20)]
    cases += [(f"twelve/{i}", many, None) for i in range(20)]
    cases += [(f"killed {stage}/{i}", killed, stage) for i in range(100) for stage in ("features", "score", "train")]
    cases = mill.some("side-by-side", cases, 12, name=lambda case: case[0])
    mill.each(tally, cases, lambda case: case[1](mill, reader, case[0], case[2]), name=lambda case: case[0])
    return tally


def at_once(mill, all_args):
    """Runs commands side by side; gives how they ended."""
    with ThreadPoolExecutor(len(all_args)) as pool:
        return list(pool.map(lambda args: mill.run(args, patience_s=60), all_args))


def fair(ended):
    """One process works, the others may say that the stage is locked; nothing else."""
    problems = [problem for one in ended for problem in one.crash()]
    for one in ended:
        if one.code == 3 and LOCKED not in one.message or one.code == 2:
            problems.append(("exit-code", f"ended with {one.code}: {one.last()}"))
    return problems


def four(mill, reader, name, stage):
    scene = chains(mill, reader)[f"changed/{stage}"]
    store = mill.copy(scene.prefix)
    ended = at_once(mill, [scene.args(mill, store)] * 4)
    problems = fair(ended)
    if all(one.code not in (0, 1) for one in ended):
        problems.append(("nobody", "none of the four did the work"))
    problems += same_end(snapshot(reader, store), scene.new)
    steps = steps_of(scene, store, *ended)
    mill.drop(store.parent)
    return problems, steps


def many(mill, reader, name, stages):
    """Stages at once on a whole store whose corpus changed; then a quiet run of all must give what a calm one gives."""
    scenes = chains(mill, reader)
    store = mill.copy(scenes["changed/ingest"].prefix)
    corpora = scenes["changed/ingest"].corpora
    dice = mill.dice("many", name)
    chosen = stages or [dice.choice(STAGES) for _ in range(12)]
    ended = at_once(mill, [mill.args(stage, corpora, store, threads=2) for stage in chosen])
    problems = fair(ended)
    quiet = run_chain(mill, corpora, store)
    problems += [("repeat", f"ended with {one.code}: {one.last()}") for one in quiet if one.code not in (0, 1)]
    # Shards, and so the id of the model, may tell of the way here; rows and what the model says may not.
    calm = scenes["changed/report"]
    problems += same_end(snapshot(reader, store), calm.new, ["manifest", "features"], exact=False)
    problems += same_predictions(reader, store, calm)
    steps = steps_of(scenes["changed/ingest"], store, *ended, *quiet)
    mill.drop(store.parent)
    return problems, steps


def same_predictions(reader, store, calm):
    """One model of the store says of the changed corpus what the calm run's says; its id may be another."""
    def by_model(place):
        found = {}
        for model, corpus_name, *row in reader.select(place, "predictions", PREDICTED):
            if corpus_name != "folder":
                found.setdefault(model, []).append(tuple(row))
        return [sorted(rows) for rows in found.values()]
    wanted = [rows for rows in by_model(calm.after) if any("speaker_04" in row[0] for row in rows)]
    return [] if wanted and wanted[0] in by_model(store) else [("wrong", "predictions differ from a calm run's")]


def killed(mill, reader, name, stage):
    """SIGKILL after a random while, with four threads; then the same command again."""
    scene = chains(mill, reader)[f"{'changed' if name.endswith(tuple('02468')) else 'empty'}/{stage}"]
    store = mill.copy(scene.prefix)
    delay = mill.dice("killed", name).uniform(0, 1.1) * usual_seconds(mill, scene)
    process = subprocess.Popen([mill.program, *scene.args(mill, store, threads=4)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    steps = steps_of(scene, store) + [f"{scene.stage} with --threads 4, kill -9 after {delay:.4f} s"]
    problems = whole_generations(snapshot(reader, store), scene.old, scene.new)
    problems += heals(mill, reader, scene, store, steps)
    mill.drop(store.parent)
    return problems, steps


def usual_seconds(mill, scene):
    """How long the stage takes here and now."""
    def measure():
        store = mill.copy(scene.prefix)
        started = time.monotonic()
        mill.done(scene.args(mill, store, threads=4))
        mill.drop(store.parent)
        return time.monotonic() - started
    return mill.once(f"seconds of {scene.name}", measure)
