"""One reader as a user would write it: all tables by their glob, again and again, while others publish.

    reading.py ENGINE STORE GENERATIONS SECONDS     ENGINE: duckdb, polars, pandas

GENERATIONS is a JSON file: for each table the digests of the whole generations that there are. The last line of stdout is
one JSON object with counts.
"""

import glob
import hashlib
import json
import re
import sys
import time
import zlib

# A name that was replaced between listing and opening.
GONE = re.compile(r"No such file|No files found|os error 2|not exist|FileNotFound|failed to retrieve|cannot find|expanded paths were empty", re.I)
COLUMNS = {"manifest": ["recording_id", "content_hash", "status"],
           "features": ["recording_id", "copy", "content_hash", "mel_mean", "log_mel"],
           "predictions": ["recording_id", "copy", "content_hash", "predicted", "confidence"],
           "metrics": ["split", "slice", "class", "metric", "value"],
           "confusion": ["split", "slice", "emotion", "predicted", "count"],
           "reliability": ["split", "bin", "n_items", "accuracy"],
           "history": ["model_id", "epoch", "train_loss"],
           "runs": ["run_id"]}


def folder(store, table):
    found = glob.glob(f"{store}/tables/{table}/v*")
    return max(found, key=lambda path: int(path.rsplit("v", 1)[1])) if found else f"{store}/tables/{table}/v1"


def read(engine, store, table):
    place, columns = folder(store, table), COLUMNS[table]
    if engine == "duckdb":
        import duckdb
        with duckdb.connect(config={"threads": 1}) as connection:
            return connection.execute(f"select {', '.join(columns)} from '{place}/*.parquet'").fetchall()
    if engine == "polars":
        import polars
        return polars.read_parquet(f"{place}/*.parquet", columns=columns).select(columns).rows()
    import pandas
    return list(pandas.read_parquet(place, columns=columns)[columns].itertuples(index=False, name=None))


def plain(value):
    if isinstance(value, bytes):
        return zlib.crc32(value)
    if value is None or value != value:
        return None
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def digest(rows):
    """Of the rows in any order; the three engines give the same."""
    return hashlib.blake2b("\n".join(sorted(str([plain(value) for value in row]) for row in rows)).encode()).hexdigest()[:24]


def judge(table, rows, generations):
    """What is wrong with the rows of a read."""
    if table == "runs":
        return f"{len(rows)} rows of {len(set(rows))} runs" if len(set(rows)) != len(rows) else None
    if digest(rows) in generations[table]:
        return None
    keys = [row[:3] if table != "manifest" else row[0] for row in rows]
    doubled = len(keys) - len(set(keys)) if table in ("manifest", "features", "predictions") else 0
    return f"{len(rows)} rows, {doubled} of them doubled" if doubled else f"{len(rows)} rows of no generation"


def read_once(engine, store, table, generations, counts, wrong):
    """A read, and a second one at once where a file was gone."""
    for attempt in (1, 2):
        try:
            rows = read(engine, store, table)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if GONE.search(text) and attempt == 1:
                counts["gone"] += 1
                continue
            wrong.append(f"{engine} {table}: {'gone twice: ' if GONE.search(text) else ''}{text[:200]}")
            return
        problem = judge(table, rows, generations)
        if problem:
            wrong.append(f"{engine} {table}: {problem}")
        else:
            counts["whole"] += 1
        return


def main():
    engine, store, file, seconds = sys.argv[1:]
    generations = json.load(open(file))
    if engine == "digest":
        print(json.dumps({table: digest(read("duckdb", store, table)) for table in generations}))
        return
    counts, wrong = {"whole": 0, "gone": 0}, []
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        # The table of many files is read as often as all others.
        for table in generations:
            if table != "features":
                read_once(engine, store, "features", generations, counts, wrong)
            read_once(engine, store, table, generations, counts, wrong)
    print(json.dumps(counts | {"wrong": wrong}))


main()
