"""The examples of job arrays: parsed, and their own command lines run here, to the same tables as in one process.

    PYTHONPATH=target/ray python3 tests/cluster/arrays.py --sermill target/release/sermill

What a scheduler would do is played: each step's command with the variables that it would set. `slurm.sh` is run for real where
there is a Slurm (`sinfo` answers). The last line of stdout is one JSON object; the exit code is 0 when all tables are equal.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import yaml  # comes with Ray

from room import PROJECT, Room, Work

DISPATCH = PROJECT / "dispatch"
TASKS = 5


def shell(room: Room, argv: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
    path = f"{room.program.parent}:{os.environ['PATH']}"
    ended = subprocess.run(argv, env=os.environ | {"PATH": path} | env, capture_output=True, text=True, cwd=room.work)
    if ended.returncode:
        raise RuntimeError(f"{argv} ended with {ended.returncode}: {ended.stderr[-1500:]}")
    return ended


def plan_in(ended: subprocess.CompletedProcess) -> str:
    return json.loads(ended.stdout.splitlines()[-1])["plan"]


def settings_of(work: Work) -> str:
    """Arguments of `sermill plan` after its stage; the examples are quiet by themselves."""
    return shlex.join(str(word) for word in work.room.plan_args(work.stage, work.store)[1:] if word != "--quiet")


def kubernetes(work: Work) -> None:
    """Each container's command, with what envsubst would put in, once for each index."""
    text = (DISPATCH / "kubernetes.yaml").read_text()
    values = {"IMAGE": "sermill:1", "STAGE": work.stage, "CLAIM": "data", "TASKS": str(TASKS), "PLAN": "",
              "SETTINGS": settings_of(work)}

    def run(step: str, env: dict[str, str]) -> subprocess.CompletedProcess:
        filled = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)
        job = next(job for job in yaml.safe_load_all(filled) if job["metadata"]["labels"]["step"] == step)
        if step == "shard" and (job["spec"]["completionMode"], job["spec"]["completions"]) != ("Indexed", TASKS):
            raise RuntimeError("the job of the shards is not indexed")
        return shell(work.room, job["spec"]["template"]["spec"]["containers"][0]["command"], env)

    values["PLAN"] = plan_in(run("plan", {}))
    for index in range(TASKS):
        run("shard", {"JOB_COMPLETION_INDEX": str(index)})
    run("commit", {})


def aws_batch(work: Work) -> None:
    """The job definition's command, with the parameters of a job put in, once for each child."""
    command = json.loads((DISPATCH / "aws-batch.json").read_text())["containerProperties"]["command"]
    values = {"plan": "-", "settings": settings_of(work)}

    def run(do: str, env: dict[str, str]) -> subprocess.CompletedProcess:
        parameters = {"Ref::do": do} | {f"Ref::{name}": value for name, value in values.items()}
        return shell(work.room, [parameters.get(word, word) for word in command], env)

    values["settings"] = f"{work.stage} {values['settings']}"
    values["plan"] = plan_in(run("plan", {}))
    for index in range(TASKS):
        run("shard", {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": str(TASKS)})
    run("commit", {})


def slurm(work: Work) -> None:
    argv = ["sh", DISPATCH / "slurm.sh", *work.room.plan_args(work.stage, work.store)]
    shell(work.room, [str(word) for word in argv], {"TASKS": str(TASKS)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sermill", type=Path, required=True, help="the program")
    parser.add_argument("--work", type=Path, help="where to work, seen by all nodes of a Slurm [default: the system's folder]")
    options = parser.parse_args()
    options.speakers, options.repetitions, options.shard = 4, 2, 16
    for script in DISPATCH.glob("*.sh"):
        subprocess.run(["sh", "-n", script], check=True)
    work = Path(tempfile.mkdtemp(prefix="sermill-arrays-", dir=options.work)).resolve()
    room, found, bad = Room(options.sermill.resolve(), work, options), {}, 0
    has_slurm = bool(shutil.which("sinfo")) and subprocess.run(["sinfo"], capture_output=True).returncode == 0
    for play in (kubernetes, aws_batch, *([slurm] if has_slurm else [])):
        for stage in ("features", "score"):
            started, on = time.monotonic(), room.work_on(stage)
            play(on)
            found[f"{play.__name__}/{stage}"] = problems = on.problems()
            bad += bool(problems["lost"] or problems["doubled"] or problems["others"])
            room.say(f"arrays: {play.__name__} {stage}: {problems}, {time.monotonic() - started:.1f} s")
    print(json.dumps({"failed": bad, "slurm": "run" if has_slurm else "not here: only parsed", **found}))
    shutil.rmtree(work)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
