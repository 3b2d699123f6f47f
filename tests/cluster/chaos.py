"""Chaos on a local cluster: raylets, head, driver, shards and committer killed while they are proven to be at work.

    PYTHONPATH=target/ray python3 tests/cluster/chaos.py --sermill target/release/sermill [--only raylet] [--rounds 1]

What each kill does stands in kills.py. A kill that hit nothing does not count and is made again. Afterwards, with the same
command once more at most, every file below tables/ must be that of a calm run in one process, nothing may be left in staging, and
`sermill verify` must be content. The last line of stdout is one JSON object; the exit code is 0 when nothing was lost or doubled.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "dispatch"))

from kills import HEADLESS_S, KILLS, Missed, Round
from room import Room
from watch import let_go, send, wait_for

TRIES = 10


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sermill", type=Path, required=True, help="the program")
    parser.add_argument("--only", default="", help="kills whose name holds this")
    parser.add_argument("--stage", choices=("features", "score"), help="all kills in this stage [default: half and half]")
    parser.add_argument("--rounds", type=int, default=1, help="how often each [default: 1]")
    parser.add_argument("--speakers", type=int, default=8, help="voices of the corpus [default: 8]")
    parser.add_argument("--repetitions", type=int, default=6, help="takes of each sentence and emotion [default: 6]")
    parser.add_argument("--shard", type=int, default=32, help="recordings of a shard [default: 32]")
    parser.add_argument("--work", type=Path, help="where to work [default: the system's folder]")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all stores")
    return parser.parse_args()


def one(room: Room, name: str, stage: str, strike) -> dict:
    """A round until its kill has hit: how it ended."""
    started, missed = time.monotonic(), 0
    while True:
        the = Round(room, stage)
        try:
            code = strike(the)
            found = judge(room, the, code)
            break
        except Missed as why:
            missed += 1
            room.say(f"chaos: {name}: missed: {why}")
            if missed == TRIES:
                found = {"lost": 0, "doubled": 0, "others": [f"missed {missed} times: {why}"]}
                break
        except Exception:
            found = {"lost": 0, "doubled": 0, "others": [traceback.format_exc()[-1500:], the.work.said()]}
            break
        finally:
            the.close()
            clear(room)
    if not room.options.keep and not found["others"]:
        shutil.rmtree(the.work.store.parent)
    seconds = round(time.monotonic() - started, 1)
    return {"kill": name, "stage": stage, "proof": the.proof, "again": the.n_again, "missed": missed, "seconds": seconds, **found}


def judge(room: Room, the: Round, code: int) -> dict:
    # A process that outlived its raylet may still be at work: in staging, where its place is.
    wait_for(lambda: not room.strays(), 60, 0.02)
    found = the.work.problems()
    if code not in (0, 1):
        found["others"].append(f"ended with {code}: {the.work.said()}")
    return found


def clear(room: Room) -> None:
    for pid in room.strays():
        let_go(pid)
        send(pid, 9)


def main() -> int:
    options = arguments()
    os.environ["RAY_gcs_rpc_server_reconnect_timeout_s"] = str(HEADLESS_S)
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="sermill-chaos-", dir=options.work)).resolve()
    started = time.monotonic()
    room = Room(options.sermill.resolve(), work, options)
    rounds = []
    for name, stage, strike in [kill for kill in KILLS if options.only in kill[0]] * options.rounds:
        found = one(room, name, options.stage or stage, strike)
        rounds.append(found)
        room.say(f"chaos: {json.dumps(found)}")
    bad = [found for found in rounds if found["lost"] or found["doubled"] or found["others"]]
    total = {key: sum(found[key] for found in rounds) for key in ("lost", "doubled", "again", "missed")}
    print(json.dumps({"kills": len(rounds), "failed": len(bad), **total, "seconds": round(time.monotonic() - started, 1),
                      "rounds": rounds}))
    if options.keep or bad:
        room.say(f"chaos: stores and logs are in {work}")
    else:
        shutil.rmtree(work)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
