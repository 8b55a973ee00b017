"""Kill extraction at random moments, run it again, and compare with a run left in peace.

    python benchmarks/kills.py --clips 300 --kills 20 --json OUT

The clips are real, the decoders, the run and the store are those of `vad extract`; the model
computes mean colours, for a millisecond a clip, so that the moments fall into the work around it.

The store must come out equal to the last bit, no reader may ever see a part of a video, and no
process may be left over. The moments are random from the first decoder process on; what goes
before, the start of Python and the loading of the model, touches no store.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clips import cut_clips

from vad.files import write_json
from vad.store import FeatureStore
from vad.verify import verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args.clips, args.kills, random.Random(args.seed))
    for name, value in result.items():
        print(f"{name:24s} {value}")
    if args.json:
        write_json(args.json, {"seed": args.seed, **result})
    sys.exit(0 if result["bit_equal"] and not result["processes_left"] else 1)


def measure(folder: Path, n_clips: int, n_kills: int, rng: random.Random) -> dict[str, object]:
    """Both runs, and what became of them."""
    videos, peace, killed = folder / "videos", folder / "peace.zarr", folder / "killed.zarr"
    cut_clips(videos, n_clips, n_frames=18)
    nursery = Nursery()
    started = time.perf_counter()
    nursery.start(videos, peace)
    if nursery.wait() != 0:
        raise SystemExit("the run in peace failed")
    work_s = time.perf_counter() - started
    lost: list[int] = []  # videos under way, at every kill
    stored: list[int] = []
    n_faults = 0
    processes: set[Path] = set()
    for _ in range(n_kills):
        pid = nursery.start(videos, killed)
        time.sleep(rng.uniform(0, 2 * work_s / n_kills))
        processes |= children_of(pid)
        with contextlib.suppress(ProcessLookupError):  # it was done already
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
        "clips": n_clips,
        "kills": n_kills,
        "stored_at_each_kill": stored,
        "lost_at_each_kill": lost,
        "faults_seen_by_a_reader": n_faults,
        "processes_left": sum(path.exists() for path in processes),
        "drafts_left": len(list((killed / ".scratch").glob("*"))),
        "run_in_peace_s": round(work_s, 1),
        "files": len(theirs),
        "bit_equal": ours == theirs and len(FeatureStore.open(killed).ids()) == n_clips,
    }


class Nursery:
    """Runs that start at once; see nursery.py."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, videos: Path, store: Path) -> int:
        """Start a run; its process id."""
        task = {"videos": str(videos), "store": str(store), "sleep_s": 0.001, "settings": {}}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self.wait()

    def wait(self) -> int:
        """The next number it tells: after the id, the status the run ended with."""
        assert self._process.stdout
        return int(self._process.stdout.readline())


def children_of(pid: int) -> set[Path]:
    """The processes that a process has started."""
    tasks = Path("/proc", str(pid), "task").glob("*/children")
    return {Path("/proc", child) for task in tasks for child in task.read_text().split()}


def files_of(store: Path) -> dict[Path, bytes]:
    """Every file of the stored videos, with its bytes."""
    return {
        path.relative_to(store): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.relative_to(store).parts[0].startswith(".")
    }


if __name__ == "__main__":
    main()
