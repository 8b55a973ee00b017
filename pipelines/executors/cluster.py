"""Run an extraction on a Ray cluster: actors pull videos, and a loop restarts actors that die.

    this process                 dispatch (an actor on this machine)         workers (one per GPU,
    ------------                 -----------------------------------         or one per core)
    videos, longest first ─────> waiting ──take──────────────────────> decoders, model, writer
    meter, failures.jsonl <───── news    <──ended─────────────────────  store, on a shared disk

Only the names of videos are sent, never frames or features: all machines see the videos and the
store under the same paths. A worker runs like a local extraction that asks for its videos one by
one. Videos that are lost with a machine are done again on another. The store stays consistent,
because a video appears in it only when complete; and no video is done twice, because a worker
checks the store before it begins one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from vad.errors import InternalError, UsageError
from vad.stages.extract.outcome import Ended
from vad.stages.extract.sources import Source

from .connection import connected
from .dispatch import Dispatch, News
from .settings import ExecutorSettings

log = logging.getLogger("vad")

POLL_S = 0.3  # seconds between two looks for ended videos and workers
GROW_S = 5.0  # seconds between two looks for machines that joined
PATIENCE_S = 60.0  # seconds without an ended video before a warning

Handle: TypeAlias = Any  # of an actor or a future: Ray does not type their methods


class Job(Protocol):
    """The work on the videos that a worker pulls. It is sent to the workers by pickle."""

    def process(self, sources: Iterable[Source], n_cpus: int) -> Iterator[Ended]:
        """Process the videos, which are pulled one by one, on `n_cpus` cores; yield how each ended.

        An exception stops the whole extraction.
        """


@dataclass(frozen=True)
class Share:
    """The cores and GPUs of one worker."""

    cpus: int
    gpus: float

    @classmethod
    def of(cls, settings: ExecutorSettings, resources: dict[str, float], device: str) -> Share:
        """Return the share per worker: one GPU or, without GPUs, one core, unless the settings
        differ.

        Raises UsageError if the cluster has fewer GPUs or cores in all.
        """
        n_gpus, n_cpus = resources.get("GPU", 0.0), int(resources.get("CPU", 0.0))
        gpus = settings.actor_gpus
        if gpus is None:
            gpus = 1.0 if n_gpus and device != "cpu" else 0.0
        if gpus > n_gpus:
            raise UsageError(
                f"actors of {gpus:g} GPUs, and the Ray cluster has {n_gpus:g}",
                hint="--actor-gpus 0 computes on CPUs",
            )
        cpus = settings.actor_cpus or (max(1, int(n_cpus * gpus / n_gpus)) if gpus else 1)
        if cpus > n_cpus:
            raise UsageError(f"actors of {cpus} cores, and the Ray cluster has {n_cpus}")
        return cls(cpus, gpus)

    def n_workers(self, resources: dict[str, float]) -> int:
        """Return how many workers fit into the cluster."""
        n = int(resources.get("CPU", 0.0) // self.cpus)
        return min(n, int(resources.get("GPU", 0.0) // self.gpus)) if self.gpus else n


class VideoActor:
    """The Ray actor that processes videos: it pulls them from the dispatch and reports how each
    ended.
    """

    def __init__(self, job: Job, n_cpus: int) -> None:
        self._job, self._n_cpus = job, n_cpus

    def work(self, dispatch: Handle, turn: str) -> None:
        """Process videos until the dispatch has no more for this turn."""
        import ray

        def pull() -> Iterator[Source]:
            while source := ray.get(dispatch.take.remote(turn)):
                yield source

        for end in self._job.process(pull(), self._n_cpus):
            ray.get(dispatch.ended.remote(turn, end))


@dataclass
class _Crew:
    """The workers that run or are being started, and the turn that each one works on."""

    make: Callable[[], Handle]  # starts a new actor
    dispatch: Handle
    idle: list[Handle] = field(default_factory=list)
    busy: dict[Handle, tuple[Handle, str]] = field(default_factory=dict)  # future -> worker, turn
    n_turns: int = 0
    n_barren: int = 0  # workers lost since a video last ended

    def __len__(self) -> int:
        return len(self.idle) + len(self.busy)

    def begin(self, n: int) -> None:
        """Start a turn on up to `n` idle workers."""
        import ray

        while n > 0 and self.idle:
            worker, turn = self.idle.pop(), f"turn {self.n_turns}"
            self.n_turns += 1
            n -= 1
            ray.get(self.dispatch.begin.remote(turn))
            self.busy[worker.work.remote(self.dispatch, turn)] = worker, turn

    def collect(self) -> None:
        """Move the workers whose turn is over to the idle ones, and drop those that died.

        Raises the exception of the job if a worker raised one.
        """
        import ray

        ready, _ = ray.wait(list(self.busy), timeout=POLL_S) if self.busy else ([], [])
        for future in ready:
            worker, turn = self.busy.pop(future)
            try:
                ray.get(future)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                log.warning("a worker was lost: %s", str(error).strip().splitlines()[0])
                ray.kill(worker)  # in case it is only unreachable: it is not used again
                self.n_barren += 1
            else:
                self.idle.append(worker)
            ray.get(self.dispatch.close.remote(turn))

    def dismiss(self) -> None:
        """Kill all workers, and with them their decoder processes."""
        import ray

        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            ray.kill(worker)


def on_cluster(
    job: Job, todo: Iterable[Source], settings: ExecutorSettings, *, device: str = "auto"
) -> Generator[Ended]:
    """Process videos on a Ray cluster; yield how each ended, as it ends.

    device: that of the job; `cpu` leaves GPUs unused. Raises UsageError if Ray or the cluster is
    missing or has too few cores or GPUs, InternalError if workers keep dying and no video ends; and
    any exception that the job raises on a worker.
    """
    with connected(settings.address) as ray:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        share = Share.of(settings, ray.cluster_resources(), device)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        dispatch = (
            ray.remote(Dispatch)
            .options(num_cpus=0, scheduling_strategy=here)
            .remote(longest_first(todo), settings.max_losses)
        )
        actors = ray.remote(VideoActor).options(num_cpus=share.cpus, num_gpus=share.gpus)
        crew = _Crew(lambda: actors.remote(job, share.cpus), dispatch)
        try:
            yield from _loop(crew, share)
        finally:
            crew.dismiss()
            ray.kill(dispatch)


def _loop(crew: _Crew, share: Share) -> Iterator[Ended]:
    import ray

    started, looked = time.monotonic(), float("-inf")
    n_fit = 0
    while True:
        news: News = ray.get(crew.dispatch.news.remote())
        yield from news.ended
        if news.n_left == 0:
            return
        if news.ended:
            crew.n_barren, started = 0, float("inf")
        if crew.n_barren > 3 + 2 * n_fit:
            raise InternalError(
                f"{crew.n_barren} Ray workers died, and no video was done in between",
                hint="see the logs of Ray; a smaller --batch needs less memory",
            )
        if time.monotonic() - looked > GROW_S:
            looked, n_fit = time.monotonic(), share.n_workers(ray.cluster_resources())
        while len(crew) < min(n_fit, news.n_left):
            crew.idle.append(crew.make())
        crew.begin(news.n_waiting)
        if time.monotonic() - started > PATIENCE_S:
            log.warning("no video has ended yet: the cluster may be busy with other work")
            started = float("inf")
        crew.collect()
        if not crew.busy:
            time.sleep(POLL_S)


def longest_first(sources: Iterable[Source]) -> list[Source]:
    """Return the sources by file size, the largest first, so that the last to end are short.

    Missing files come last.
    """

    def n_bytes(source: Source) -> int:
        try:
            return source.path.stat().st_size
        except OSError:
            return 0

    return sorted(sources, key=n_bytes, reverse=True)
