"""Kill extraction at random moments, run it again, and compare with an undisturbed extraction.

    python benchmarks/kills.py --clips 300 --kills 20 --json OUT
    python benchmarks/kills.py --clips 300 --ray --json OUT

With `--ray`, two machines of a Ray cluster, both simulated on this one, extract the clips. One of
them is removed after a third of the clips and another one joins; after two thirds, the only worker
of a machine is killed.

The clips are real; decoders, pipeline and store are those of `vad extract`; the model computes mean
colours and takes a millisecond per clip, so that most kills hit the work around it.

The store must be equal to the last bit, no reader can ever see a part of a video, and no process
can be left over. The moments are random from the first decoder process on: before, while Python
starts and the model is loaded, no store is touched.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clips import cut_clips
from null_model import null_backbone

from vad.files import write_json
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.plan import make_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.stages.pipelines.executors.run import run_plan_on
from vad.stages.pipelines.executors.settings import ExecutorSettings
from vad.store import FeatureStore
from vad.store.verify import verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ray", action="store_true", help="a Ray cluster that loses a machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos, peace = Path(folder, "videos"), Path(folder, "peace.zarr")
        cut_clips(videos, args.clips, n_frames=18)
        work_s = run_in_peace(videos, peace)
        if args.ray:
            result = on_ray(videos, peace, args.clips)
        else:
            result = measure(
                videos, peace, args.clips, args.kills, work_s, random.Random(args.seed)
            )
        result |= {"clips": args.clips, "run_in_peace_s": round(work_s, 1)}
    for name, value in result.items():
        print(f"{name:24s} {value}")
    if args.json:
        write_json(args.json, {"seed": args.seed, **result})
    sys.exit(0 if result["bit_equal"] and not result.get("processes_left") else 1)


def run_in_peace(videos: Path, store: Path) -> float:
    """Run the undisturbed extraction, to which all others are compared; return its seconds."""
    nursery = Nursery()
    started = time.perf_counter()
    nursery.start(videos, store)
    if nursery.wait() != 0:
        raise SystemExit("the run in peace failed")
    return time.perf_counter() - started


def measure(
    videos: Path, peace: Path, n_clips: int, n_kills: int, work_s: float, rng: random.Random
) -> dict[str, object]:
    """Kill and restart extraction `n_kills` times; return the findings as figures by name."""
    killed, nursery = peace.with_name("killed.zarr"), Nursery()
    lost: list[int] = []  # unfinished videos at every kill
    stored: list[int] = []
    n_faults = 0
    processes: set[Path] = set()
    for _ in range(n_kills):
        pid = nursery.start(videos, killed)
        time.sleep(rng.uniform(0, 2 * work_s / n_kills))
        processes |= children_of(pid)
        with contextlib.suppress(ProcessLookupError):  # the extraction had already ended
            os.kill(pid, signal.SIGKILL)
        nursery.wait()
        if (killed / "zarr.json").exists():
            lost.append(len(list((killed / ".scratch").glob("*"))))
            stored.append(len(FeatureStore.open(killed).ids()))
            n_faults += len(verify(killed, quiet=True).faults)
    nursery.start(videos, killed)
    nursery.wait()
    time.sleep(2)
    ours, theirs = files_of(killed), files_of(peace)
    return {
        "kills": n_kills,
        "stored_at_each_kill": stored,
        "lost_at_each_kill": lost,
        "faults_seen_by_a_reader": n_faults,
        "processes_left": sum(path.exists() for path in processes),
        "drafts_left": len(list((killed / ".scratch").glob("*"))),
        "files": len(theirs),
        "bit_equal": ours == theirs and len(FeatureStore.open(killed).ids()) == n_clips,
    }


def on_ray(videos: Path, peace: Path, n_clips: int) -> dict[str, object]:
    """Extract the clips on a cluster that loses a machine and a worker; return the findings."""
    import ray
    from ray.cluster_utils import Cluster

    machine: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    second = cluster.add_node(**machine)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    path, n_stored = peace.with_name("ray.zarr"), 0

    def on_stored(video: str) -> None:
        nonlocal n_stored
        n_stored += 1
        if n_stored == n_clips // 3:
            cluster.remove_node(second, allow_graceful=False)
            cluster.add_node(**machine)
        elif n_stored == 2 * n_clips // 3:
            os.kill(_writer(path), signal.SIGKILL)

    settings, where = ExtractSettings(backbone="null"), ExecutorSettings(executor="ray")
    plan = make_plan(find_sources([videos]), path, null_backbone(), settings)
    store = FeatureStore.create(path)
    started = time.perf_counter()
    outcome = run_plan_on(
        plan, store, null_backbone(), settings, where, on_stored=on_stored, load=_load
    )
    run_s = time.perf_counter() - started
    ray.shutdown()
    cluster.shutdown()
    ours, theirs = files_of(path), files_of(peace)
    return {
        "done": len(outcome.done),
        "found_stored_after_a_loss": len(outcome.skipped),
        "failed": len(outcome.failed),
        "run_s": round(run_s, 1),
        "files": len(theirs),
        "bit_equal": ours == theirs and len(store.ids()) == n_clips,
    }


def _load(settings: ExtractSettings) -> Backbone:
    return null_backbone(0.001)


def _writer(store: Path) -> int:
    """Return the id of a process that is writing a video, from the name of its draft."""
    while not (drafts := list((store / ".scratch").glob("*"))):
        time.sleep(0.001)
    return int(drafts[0].name.rsplit("-", 2)[1])


class Nursery:
    """Starts extractions without delay; see nursery.py."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, videos: Path, store: Path) -> int:
        """Start an extraction; return its process id."""
        task = {"videos": str(videos), "store": str(store), "sleep_s": 0.001, "settings": {}}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self.wait()

    def wait(self) -> int:
        """Return the next number that the process prints: after the id, the exit status."""
        assert self._process.stdout
        return int(self._process.stdout.readline())


def children_of(pid: int) -> set[Path]:
    """Return the `/proc` folders of the child processes of a process."""
    tasks = Path("/proc", str(pid), "task").glob("*/children")
    return {Path("/proc", child) for task in tasks for child in task.read_text().split()}


def files_of(store: Path) -> dict[Path, bytes]:
    """Return the bytes of every file of the stored videos, by relative path."""
    return {
        path.relative_to(store): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.relative_to(store).parts[0].startswith(".")
    }


if __name__ == "__main__":
    main()
