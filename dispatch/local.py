#!/usr/bin/env python3
"""A cluster on this machine: a head without CPUs and raylets of one CPU each; then ingest, features and score on it.

    local.py --sermill FILE --pipeline P --corpora C --store S [--raylets 2] [any argument of `sermill plan`]

`make cluster` calls it. The stages go through ray_shards.py as on any cluster. `score` goes from audio to predictions, with
`--set score.model=FILE` or the model that the store has trained. Summaries are printed as they come, one JSON line each.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

DISPATCHER = Path(__file__).resolve().parent / "ray_shards.py"
STAGES = {"ingest": [], "features": [], "score": ["--set", "score.source=audio"]}
# Unless told otherwise, Ray takes a third of the memory for objects; what passes through it here are a few lines of text.
OBJECTS = {"object_store_memory": 80 << 20}
# A raylet that has died or hangs is given up within seconds, because somebody sits before it.
WATCHFUL = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
ENVIRONMENT = {"RAY_grpc_client_keepalive_time_ms": "10000", "RAY_grpc_client_keepalive_timeout_ms": "5000",
               "RAY_USAGE_STATS_ENABLED": "0"}  # the last: nothing is told to Ray's makers


class LocalCluster:
    """Processes of Ray on this machine, as on as many machines: a head and raylets, each a node of its own."""

    def __init__(self, n_raylets: int = 2):
        os.environ.update(ENVIRONMENT)
        logging.getLogger("ray").setLevel(logging.ERROR)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": WATCHFUL, **OBJECTS}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.raylets: list[int] = []
        for _ in range(n_raylets):
            self.join()

    def join(self) -> int:
        """One more raylet of one CPU: its process."""
        node = self.cluster.add_node(num_cpus=1, **OBJECTS)
        self.raylets.append(node.all_processes["raylet"][0].process.pid)
        return self.raylets[-1]

    def head(self) -> list[int]:
        """The processes of the head: first the one that knows what runs where."""
        processes = self.cluster.head_node.all_processes
        return [info.process.pid for name in ("gcs_server", "raylet") for info in processes[name]]

    def stop(self) -> None:
        self.cluster.shutdown()

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sermill", required=True, help="the program")
    parser.add_argument("--raylets", type=int, default=2, help="machines to play [default: 2]")
    args, more = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    with LocalCluster(args.raylets) as cluster:
        worst = 0
        for stage, own in STAGES.items():
            ended = subprocess.run([sys.executable, DISPATCHER, "--address", cluster.address, "--sermill", args.sermill,
                                    stage, *more, *own])
            if ended.returncode not in (0, 1):
                return ended.returncode
            worst = max(worst, ended.returncode)
    return worst


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:  # Python's own code is 1, which says "done with rejected recordings"
        traceback.print_exc()
        sys.exit(3)
