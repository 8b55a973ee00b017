"""Where the coordinator of a Ray extraction saturates: videos per second by number of workers.

    python benchmarks/coordinator.py [--workers 1 2 64] [--seconds 1 0.2 0.05 0] [--json OUT]

The coordinator, its actors and the calls between them are those of `vad extract --executor ray`, on
this machine alone. Four processes simulate many workers: a worker sleeps for a given time instead
of processing its video. So the workers could process `workers / seconds` videos per second, and
they do process `videos_per_s`. The difference is lost in the coordinator or, because all share this
machine's cores, in the workers. The rate is measured while all workers are busy. With 0 seconds
they only ask for videos, so this is where the coordinator saturates.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vad.files import write_json
from vad.stages.extract.outcome import Ended
from vad.stages.extract.sources import Source
from vad.stages.pipelines.executors.cluster import on_cluster
from vad.stages.pipelines.executors.settings import ExecutorSettings

MEASURE_S = 8.0  # seconds that the workers would need with an infinitely fast coordinator
MOST = 4000  # videos in one measurement
MOST_PROCESSES = 4  # processes that simulate the workers


@dataclass(frozen=True)
class Sleep:
    """A job that sleeps for each video, once all processes have started.

    Each process simulates several workers by threads, which take turns in asking for a video, as
    the decoders of a worker do.
    """

    seconds: float
    present: Path  # folder with one file per started process
    n_processes: int
    n_threads: int

    def process(self, sources: Iterable[Source], n_cpus: int) -> Iterator[Ended]:
        (self.present / str(os.getpid())).touch()
        while len(list(self.present.iterdir())) < self.n_processes:
            time.sleep(0.2)
        todo, asking = iter(sources), threading.Lock()
        ends: queue.Queue[Ended | None] = queue.Queue()

        def sleep() -> None:
            while True:
                with asking:
                    source = next(todo, None)
                if source is None:
                    break
                time.sleep(self.seconds)
                ends.put(Ended(source))
            ends.put(None)

        for _ in range(self.n_threads):
            threading.Thread(target=sleep).start()
        n_asleep = self.n_threads
        while n_asleep:
            end = ends.get()
            if end is None:
                n_asleep -= 1
            else:
                yield end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 0.2, 0.05, 0.0])
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    rows = [row for n in args.workers for row in measure(n, args.seconds)]
    if args.json:
        write_json(args.json, {"rows": rows, "n_cores": os.cpu_count()})


def measure(n_workers: int, all_seconds: list[float]) -> Iterator[dict[str, float | None]]:
    """Start a cluster of `n_workers`; yield its rate for every number of seconds per video."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    n_processes = min(n_workers, MOST_PROCESSES)
    ray.init(
        "local",
        num_cpus=n_processes,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    for seconds in all_seconds:
        offered = n_workers / seconds if seconds else None  # None: workers only ask
        n_videos = int(min(MOST, max(offered * MEASURE_S, 4 * n_workers))) if offered else MOST
        with tempfile.TemporaryDirectory() as folder:
            job = Sleep(seconds, Path(folder), n_processes, n_workers // n_processes)
            todo = [Source(f"{number:06d}", Path("nothing")) for number in range(n_videos)]
            ended = [
                time.monotonic()
                for _ in on_cluster(job, todo, ExecutorSettings(executor="ray"), device="cpu")
            ]
        first, last = n_videos // 10, n_videos * 9 // 10
        rate = (last - first) / (ended[last] - ended[first])
        row = {"workers": n_workers, "seconds": seconds, "videos": n_videos, "offered": offered}
        words = " ".join(f"{name} {value!s:<6}" for name, value in row.items())
        print(f"{words} videos_per_s {rate:.1f}", flush=True)
        yield {**row, "videos_per_s": rate}
    ray.shutdown()


if __name__ == "__main__":
    main()
