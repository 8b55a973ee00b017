"""Where the coordinator of a Ray run saturates: videos per second by number of workers.

    python benchmarks/coordinator.py [--workers 1 2 64] [--seconds 1 0.2 0.05 0] [--json OUT]

The coordinator, its actors and the calls between them are those of `vad extract --executor ray`,
on this machine alone. Four processes play many workers, and a worker sleeps for a time instead of
doing its video. So the workers could do `workers / seconds` videos a second, and do
`videos_per_s`: what is missing is the coordinator's, or, as all share the cores of this machine,
theirs. The rate is taken while all of them work. At 0 seconds they do nothing but ask: that is
where it saturates.
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

MEASURE_S = 8.0  # about as long as the workers would need, were the coordinator free
MOST = 4000  # videos in one measurement
MOST_PROCESSES = 4  # that play the workers


@dataclass(frozen=True)
class Sleep:
    """A job that takes a time for every video, once all processes are there.

    Each process plays several workers: threads that ask for videos in turn, as a worker's decoders
    do.
    """

    seconds: float
    present: Path  # folder with a file for every process
    n_processes: int
    n_threads: int

    def each(self, sources: Iterable[Source], n_cpus: int) -> Iterator[Ended]:
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
    """One cluster of so many workers, and its rate at every length of a video."""
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
        offered = n_workers / seconds if seconds else None  # nothing but asking
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
