"""What a store holds, and whether that is one whole generation: the eyes of the harness."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mill import HERE

TABLES = ["manifest", "features", "history", "predictions", "metrics", "confusion", "reliability", "runs"]
# All but the ledger, which tells of runs.
RESULTS = TABLES[:-1]
# Columns that read a clock, or tell of the work and not of its result.
DROP = {"history": ["seconds"]}
KEEP = {"runs": ["stage", "pipeline", "settings_fingerprint", "inputs", "output_fingerprint", "n_rejected"]}
CLOCKED = {"history", "runs"}
# What lies in a store for good; all else in there is work that should be gone after a whole run.
LASTING = {"tables", "models", "reports", "index", "locks"}
TEMPORARY = re.compile(r"partial|\.tmp|staging|replaced|aside|\.old$|\.new$", re.I)
OUTPUTS = {"ingest": ["manifest"], "features": ["features"], "train": ["history"], "score": ["predictions"],
           "report": ["metrics", "confusion", "reliability"]}
FOLDERS = {"train": "models", "report": "reports"}


class Reader:
    """One reader process for each thread that asks."""

    def __init__(self, python):
        self.python = python
        self.mine = threading.local()
        self.all = []
        self.known = {}

    def ask(self, request):
        process = getattr(self.mine, "process", None)
        if process is None or process.poll() is not None:
            process = subprocess.Popen([*self.python.argv, HERE / "reader.py"], env=self.python.env, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.mine.process = process
            self.all.append(process)
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        return json.loads(line) if line else {"error": "the reader died of this file"}

    def digests(self, table, file, content):
        """Digest of each row; a text if the file cannot be read. Bytes that were seen before are not read again."""
        key = (table, content)
        if key not in self.known:
            answer = self.ask({"digest": str(file), "keep": KEEP.get(table), "drop": DROP.get(table, [])})
            self.known[key] = answer.get("error") or tuple(answer["rows"])
        return self.known[key]

    def select(self, store, table, columns):
        """Values of all rows of a table."""
        files = [str(file) for file in table_files(store, table)]
        answer = self.ask({"select": files, "columns": columns})
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return [tuple(row) for row in answer["rows"]]

    def close(self):
        for process in self.all:
            process.stdin.close()
            process.wait()


class Python:
    """An interpreter with DuckDB, Polars and pandas: one that is named, or ours with the folder that install.sh filled."""

    def __init__(self, given):
        self.argv, self.env = [sys.executable], dict(os.environ)
        if given and Path(given).is_dir():
            self.env["PYTHONPATH"] = str(given)
        elif given:
            self.argv = [str(given)]
        self.env |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def problem(self):
        code = "import duckdb, polars, pandas, pyarrow"
        found = subprocess.run([*self.argv, "-c", code], env=self.env, capture_output=True, text=True)
        return found.stderr.strip().splitlines()[-1] if found.returncode else None


def version_folder(store, table):
    """The newest version's folder of a table; `None` when there is no table."""
    found = [path for path in (Path(store) / "tables" / table).glob("v*") if path.name[1:].isdigit()]
    return max(found, key=lambda path: int(path.name[1:])) if found else None


def table_files(store, table):
    folder = version_folder(store, table)
    if folder is None:
        return []
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(".parquet"))
    except FileNotFoundError:
        return []


def content_of(file):
    return hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()


def content_in_folder(file):
    """As [`content_of`], but for what a clock said: the seconds of each epoch on a report's page."""
    if file.name != "report.md":
        return content_of(file)
    page, epochs, table = file.read_bytes().partition(b"## Epochs")
    return hashlib.blake2b(page + epochs + re.sub(rb"\| [0-9.]+ \|$", b"|", table, flags=re.M), digest_size=16).hexdigest()


@dataclass
class Snapshot:
    """All that a user of a store can see."""

    rows: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)
    folders: dict = field(default_factory=dict)
    index: dict = field(default_factory=dict)
    unreadable: dict = field(default_factory=dict)
    strays: list = field(default_factory=list)
    leftovers: Counter = field(default_factory=Counter)


def snapshot(reader, store, tables=TABLES):
    found = Snapshot()
    for table in tables:
        _read_table(found, reader, store, table)
    for kind in ["models", "reports"]:
        for folder in sorted((store / kind).glob("*")):
            if folder.is_dir():
                found.folders[f"{kind}/{folder.name}"] = {
                    str(file.relative_to(folder)): content_in_folder(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    for file in sorted((store / "index").glob("*.json")):
        found.index[file.stem] = _promise(file)
    found.leftovers = _leftovers(store)
    return found


def _read_table(found, reader, store, table):
    folder = version_folder(store, table)
    if folder is None:
        return
    for path in folder.iterdir():
        if not path.name.endswith(".parquet") or not path.is_file():
            found.strays.append(str(path.relative_to(store)))
    rows, files = Counter(), Counter()
    for path in table_files(store, table):
        content = content_of(path)
        files[content] += 1
        digests = reader.digests(table, path, content)
        if isinstance(digests, str):
            found.unreadable[str(path.relative_to(store))] = digests
        else:
            rows.update(digests)
    found.rows[table], found.files[table] = rows, files


def _promise(file):
    """What a commit says about its output; the rest of it may know a clock."""
    try:
        value = json.loads(file.read_text())
    except ValueError:
        return None
    return {key: value[key] for key in ("settings", "inputs", "output", "n_rejected") if key in value}


def _leftovers(store):
    found = Counter()
    for file in store.rglob("*"):
        place = file.relative_to(store)
        if file.is_file() and (place.parts[0] not in LASTING or any(TEMPORARY.search(part) for part in place.parts)):
            found["/".join(place.parts[:2])] += 1
    return found


# ---- comparing


def whole_generations(now, old, new, tables=TABLES):
    """Problems of a store that something broke off in: every table and folder must be as before or as after."""
    problems = [("unreadable", f"{path}: {why}") for path, why in now.unreadable.items()]
    problems += [("stray", f"{path} lies in a table's folder") for path in now.strays]
    for table in tables:
        problems += _one_of_two(table, now, old, new)
    for name in sorted(old.folders.keys() | new.folders.keys() | now.folders.keys()):
        before, after, here = old.folders.get(name), new.folders.get(name), now.folders.get(name)
        if here is None and before is not None and after is not None:
            problems.append(("absent", f"{name} is missing"))
        elif here not in (before, after):
            problems.append(("mixture", f"{name} holds neither the old nor the new files: {sorted(here)}"))
    return problems


def _one_of_two(table, now, old, new):
    before, after, here = (snap.rows.get(table, Counter()) for snap in (old, new, now))
    if here in (before, after):
        return []
    if table == "runs":
        # A run may be in the ledger before its commit is there, or not yet.
        return [] if before <= here <= after else [("runs", f"{len(here)} rows, {len(before)} before, {len(after)} after")]
    if not here:
        return [("absent", f"table {table} is empty or gone")]
    kind = "doubled" if (before and before <= here) or after <= here else "mixture"
    return [(kind, f"table {table}: {sum(here.values())} rows, {sum(before.values())} in the old, {sum(after.values())} in the new")]


def same_end(now, calm, tables=TABLES, exact=True):
    """Problems of a store that should be as after a calm run."""
    problems = [("unreadable", f"{path}: {why}") for path, why in now.unreadable.items()]
    problems += [("stray", f"{path} lies in a table's folder") for path in now.strays if path not in calm.strays]
    for table in tables:
        here, there = now.rows.get(table, Counter()), calm.rows.get(table, Counter())
        if here != there:
            kind = "runs" if table == "runs" else "wrong"
            detail = f"{sum((here - there).values())} rows too many, {sum((there - here).values())} missing"
            problems.append((kind, f"table {table}: {detail}"))
        elif exact and table not in CLOCKED and now.files.get(table) != calm.files.get(table):
            problems.append(("bytes", f"table {table} has the same rows in other bytes"))
    if exact:
        problems += _same_folders(now, calm)
        over = now.leftovers - calm.leftovers
        problems += [("leftover", f"{number} files in {place}") for place, number in over.items()]
        problems += [("index", f"the commit of {stage} differs") for stage, promise in calm.index.items()
                     if now.index.get(stage) != promise]
    return problems


def _same_folders(now, calm):
    names = sorted(now.folders.keys() | calm.folders.keys())
    return [("wrong", f"{name} differs") for name in names if now.folders.get(name) != calm.folders.get(name)]


def same_output(now, calm, stage):
    """Whether what `stage` publishes is as after a calm run."""
    stage = stage.split()[0]
    if any(now.rows.get(table) != calm.rows.get(table) for table in OUTPUTS[stage]):
        return False
    if any(place.split("/")[1] in OUTPUTS[stage] for place in now.unreadable):
        return False
    kind = FOLDERS.get(stage)
    mine = {name: files for name, files in now.folders.items() if kind and name.startswith(kind)}
    theirs = {name: files for name, files in calm.folders.items() if kind and name.startswith(kind)}
    return mine == theirs
