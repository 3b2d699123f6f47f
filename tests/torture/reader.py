"""Reads table files with DuckDB and Polars for the driver: one JSON request a line on stdin, one answer a line on stdout.

{"digest": FILE, "keep": [columns] or null, "drop": [columns]}   -> {"rows": [digest of each row]}
{"select": [FILES], "columns": [...]}                            -> {"rows": [[values]]}
An error is {"error": text}.
"""

import hashlib
import json
import sys

import duckdb
import polars


def quoted(path):
    return "'" + path.replace("'", "''") + "'"


def digest(request, connection):
    path = request["digest"]
    # Both must read it: they share no code.
    n_rows = polars.read_parquet(path, glob=False).height
    found = connection.execute(f"select * from read_parquet([{quoted(path)}])")
    names = [column[0] for column in found.description]
    kept = [i for i, name in enumerate(names)
            if name not in request["drop"] and (not request["keep"] or name in request["keep"])]
    rows = found.fetchall()
    if len(rows) != n_rows:
        raise ValueError(f"Polars reads {n_rows} rows, DuckDB {len(rows)}")
    return [of_row(row, kept) for row in rows]


def of_row(row, kept):
    hasher = hashlib.blake2b(digest_size=8)
    for i in kept:
        value = row[i]
        hasher.update(value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass"))
        hasher.update(b"\0")
    return hasher.hexdigest()


def select(request, connection):
    if not request["select"]:
        return []
    files = ", ".join(map(quoted, request["select"]))
    columns = ", ".join(f'"{name}"' for name in request["columns"])
    return [list(row) for row in connection.execute(f"select {columns} from read_parquet([{files}])").fetchall()]


def main():
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"rows": digest(request, connection) if "digest" in request else select(request, connection)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps(answer, default=str), flush=True)


main()
