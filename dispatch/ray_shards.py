#!/usr/bin/env python3
"""Runs one stage of sermill on a Ray cluster: planned here, its shards as Ray tasks, committed here.

    ray_shards.py [--address HOST:PORT] [--sermill FILE] STAGE --pipeline P --store S --corpora C [what `sermill plan` takes]

Store, corpora and program have one path on all machines; workers need nothing else, what they do stands in the plan. The
same command goes on after any loss. Exit codes are sermill's: 0 and 1 done, 2 never retry, anything else run it again.
"""
import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections import Counter

RETRIES = 5  # of a task whose worker is lost, and of one that failed: what kills its worker each time must end


def arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="of the cluster [default: RAY_ADDRESS, the one that runs here, or a fresh one]")
    parser.add_argument("--sermill", default="sermill", help="the program [default: the one on the path]")
    parser.add_argument("--threads", type=int, default=1, help="threads, and CPUs, of a task [default: 1]")
    parser.add_argument("--tasks", type=int, help="tasks that the shards are dealt to [default: 16 a CPU]")
    return parser.parse_known_args()


def run(argv: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def run_shards(shard: list[str], n_shards: int, args: argparse.Namespace, parent: int) -> None:
    """Runs the shards, dealt in strides. A task that keeps failing is left out: the commit will say what is missing."""
    import ray
    ray.init(address=args.address, log_to_driver=False, logging_level="ERROR")
    work = ray.remote(num_cpus=args.threads, max_retries=RETRIES)(run)
    slots = lambda: max(1, int(ray.cluster_resources().get("CPU", 0)) // args.threads)  # machines come and go
    of = min(n_shards, args.tasks or 16 * slots())
    todo, running, failed, told = list(range(of))[::-1], {}, Counter(), Counter(tasks=of)
    while (todo or running) and os.getppid() == parent:  # else nobody is left to commit
        while todo and len(running) < 4 * slots():
            index = todo.pop()
            running[work.remote([*shard, "--index", str(index), "--of", str(of)])] = index
        for task in ray.wait(list(running), timeout=5)[0]:
            index = running.pop(task)
            try:
                ended = ray.get(task)
            except ray.exceptions.RayError as lost:
                ended = subprocess.CompletedProcess([], 3, "", str(lost))
            told.update(json.loads(line)["state"] for line in ended.stdout.splitlines(True) if line.endswith("}\n"))
            if ended.returncode not in (0, 1):
                print(f"task {index} of {of} ended with {ended.returncode}: {ended.stderr[-2000:]}", file=sys.stderr, flush=True)
                failed[index] += 1
                todo += [index] * (failed[index] <= RETRIES)
            if ended.returncode == 2:
                sys.exit(2)
    print(json.dumps({"dispatched": told | Counter(failed=failed.total())}), flush=True)


def main() -> int:
    args, stage = arguments()
    program = os.path.abspath(shutil.which(args.sermill) or args.sermill)
    planned = subprocess.run([program, "plan", *stage], stdout=subprocess.PIPE, text=True)
    print(planned.stdout, end="", flush=True)
    plan = json.loads(planned.stdout.splitlines()[-1]) if planned.returncode in (0, 1) else {"plan": None}
    if plan["plan"] is None:
        return planned.returncode
    shard = [program, "shard", "--plan", plan["plan"], "--threads", str(args.threads), "--quiet"]
    # A process of its own: Ray ends its process with 1 when it loses its head, and from here 1 would say "done".
    ours = multiprocessing.get_context("fork").Process(target=run_shards, args=(shard, plan["shards"], args, os.getpid()))
    ours.start()
    ours.join()
    commit = [program, "commit", "--plan", plan["plan"], *(word for word in stage if word == "--accept-loss")]
    return 2 if ours.exitcode == 2 else subprocess.run(commit).returncode


if __name__ == "__main__":
    sys.exit(main())
