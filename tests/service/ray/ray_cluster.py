"""A Ray of its own with the service on it, in a process of its own; started by `test_ray_app`.

    python tests/service/ray/ray_cluster.py CHECKPOINT FILES_DIR TEMPORARY_DIR PORT

Says `ready` once replicas serve. Then `kill REPLICA` on standard input kills that replica's process
with SIGKILL, and the end of standard input ends everything. Nothing listens beyond loopback.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.schema import LoggingConfig

from service.ray_app import REPLICA, RayArgs, application
from tests.service.ray.ray_replicas import SlowReplica

APP = "lamm"
_OBJECT_STORE_BYTES = 80 << 20


def main(checkpoint: str, files_dir: str, temporary: str, port: str) -> None:
    """Serves until standard input ends."""
    ray.init(
        address="local",
        num_cpus=4,  # Ray's count of places; the machine may have fewer
        num_gpus=0,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=temporary,
    )
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": int(port)},
            logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
        )
        args = RayArgs(
            checkpoint=(checkpoint,),
            engine="echo",
            media_workers=1,
            media_timeout_s=60.0,
            media_queue_timeout_s=120.0,
            keepalive_s=1.0,
            files_dir=Path(files_dir),
            min_replicas=2,
            max_replicas=2,
            num_cpus=0.5,
            health_check_period_s=1.0,
            replica_wait_s=90.0,
        )
        serve.run(application(args, SlowReplica), name=APP, route_prefix="/")
        _say("ready")
        for line in sys.stdin:
            verb, _, name = line.strip().partition(" ")
            if verb == "kill":
                os.kill(_pid(name), signal.SIGKILL)
                _say(f"killed {name}")
    finally:
        serve.shutdown()
        ray.shutdown()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _pid(replica: str) -> int:
    """Of the process that has the replica of that id."""
    actor = ray.get_actor(f"SERVE_REPLICA::{APP}#{REPLICA}#{replica}", namespace="serve")
    return int(ray.get(actor.__ray_call__.remote(_own_pid)))


def _own_pid(_: Any) -> int:
    return os.getpid()


if __name__ == "__main__":
    main(*sys.argv[1:])
