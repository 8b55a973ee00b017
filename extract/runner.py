"""The runner of videos: it makes features, captions or both from one decoding of a video.

    claim ──> decode once ──> batch, compute ──> commit ──> result for the video

The commands `vad extract`, `vad caption` and `vad score` all use a `VideoRunner`. Several runs can
share one store: a run claims a video (takes a lock on it) when a decoder is free for it. If another
run holds the claim, this run tries the video again later.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from vad.errors import UsageError
from vad.grid import ClipGrid
from vad.store import FeatureStore, Provenance, differences
from vad.store.backends.backend import Claims
from vad.terminal import Meter, meter

from .decoders import DecoderName
from .decoders.pool import DecoderPool
from .decoders.video import Limits
from .decoders.worker import Empty
from .outcome import Ended, Failures, Outcome
from .pipeline import ClaimedVideo, Maker, Pipeline
from .records import FileState, is_unchanged
from .sources import Source

CLIPS_PER_BLOCK = 4  # clips that a decoder sends in one event


@dataclass(frozen=True)
class Decoding:
    """The options by which a run decodes its videos."""

    workers: int  # decoder processes
    grid: ClipGrid = field(default_factory=ClipGrid)  # of the stored videos
    decoder: DecoderName = "auto"
    limits: Limits = field(default_factory=Limits)
    time_limit_s: float = 60.0
    accept_truncated: bool = False

    def pool(self, empty: Empty) -> DecoderPool:
        """Return a pool of decoder processes; `empty` allocates the memory of their clips.

        The pool sends all frames, 16 by 16, and the makers cut clips and windows out of them.
        """
        return DecoderPool(
            self.workers,
            clips_per_block=CLIPS_PER_BLOCK,
            tail="repeat-last",
            counts=self.grid.sampling.max_clips is not None,
            decoder=self.decoder,
            limits=self.limits,
            time_limit_s=self.time_limit_s,
            accept_truncated=self.accept_truncated,
            empty=empty,
        )


@dataclass
class VideoRunner:
    """Makes those arrays of videos that a store lacks.

    It is pickled for worker processes and other machines, without its makers. There `load` makes
    them again, and their provenance must be equal to `provenance`.
    """

    store: str  # address of the store, the same on every machine
    load: Callable[[str | None], list[Maker]]  # argument: device, or None for the settings' device
    provenance: dict[str, Provenance]  # by the first array of each maker
    decoding: Decoding
    overwrite: bool = False  # make arrays again that are stored already
    joins: bool = False  # add the arrays to stored videos; see `Pipeline`
    device: str | None = None
    makers: list[Maker] | None = field(default=None, repr=False)

    def on(self, device: str) -> VideoRunner:
        """Return a copy for another device, where the makers are loaded again."""
        return replace(self, device=device, makers=None)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "makers": None}

    def process(
        self, sources: Iterable[Source], n_workers: int, progress: Meter | None = None
    ) -> Generator[Ended]:
        """Process videos with `n_workers` decoder processes, and yield the result for each video.
        The sources are read one by one, when a decoder is free. Videos that other runs have claimed
        are tried again until each is stored or failed.
        """
        store, makers = self._opened(), self._loaded()
        store.sweep()
        pool = replace(self.decoding, workers=n_workers).pool(makers[0].empty)
        with pool, store.backend.claims() as claims:
            while others := (yield from self._once(sources, store, makers, pool, claims, progress)):
                time.sleep(claims.poll_s)
                sources = others

    def _once(
        self,
        sources: Iterable[Source],
        store: FeatureStore,
        makers: Sequence[Maker],
        pool: DecoderPool,
        claims: Claims,
        progress: Meter | None,
    ) -> Generator[Ended, None, list[Source]]:
        """Go once through the videos. Returns those that other runs have claimed."""
        mine: list[ClaimedVideo] = []
        stored: list[Source] = []  # stored by another run after this run made its plan
        others: list[Source] = []

        def claimed() -> Iterator[Path]:
            """Yield the paths of the videos to decode; each is claimed when a decoder asks for the
            next.
            """
            for source in sources:
                if not claims.take(source.id):
                    others.append(source)
                elif lacking := self._lacking(store, source, makers):
                    mine.append(ClaimedVideo(source, lacking, FileState.of(source.path)))
                    yield source.path
                else:
                    claims.release(source.id)
                    stored.append(source)

        grid, joins = self.decoding.grid, self.joins
        with Pipeline(store, makers, grid=grid, joins=joins, progress=progress) as pipeline:
            # `claimed` fills `mine` as the pool asks for videos; events name its items by index
            for end in pipeline.store(pool.decode(claimed()), mine):
                yield end
                claims.release(end.source.id)
        yield from (Ended(source, by_others=True) for source in stored)
        return others

    def _lacking(
        self, store: FeatureStore, source: Source, makers: Sequence[Maker]
    ) -> Sequence[Maker]:
        """Return the makers of the arrays that the store does not hold for the file's present
        content.
        """
        if self.overwrite or not store.is_intact(source.id):
            return makers
        if not self.joins and not is_unchanged(source.path, store.record(source.id)):
            return makers
        return [maker for maker in makers if not store.is_intact(source.id, *maker.arrays)]

    def _opened(self) -> FeatureStore:
        if not FeatureStore.exists(self.store):
            raise UsageError(
                f"the machine {socket.gethostname()} does not see {self.store}",
                hint="put videos and store on a disk that all machines share",
            )
        return FeatureStore.open(self.store)

    def _loaded(self) -> list[Maker]:
        if self.makers is None:
            self.makers = self.load(self.device)
        for maker in self.makers:
            if differing := differences(self.provenance[maker.arrays[0]], maker.provenance):
                name, (wanted, found) = next(iter(differing.items()))
                raise UsageError(
                    f"{socket.gethostname()} would make another {maker.arrays[0]}: {name} is "
                    f"{found!r} there, {wanted!r} here",
                    hint="install the same weights on every machine",
                )
        return self.makers


# Processes the videos with the runner, here or elsewhere, and yields how each ended.
Executor = Callable[[VideoRunner, list[Source], Meter], Generator[Ended]]


def in_this_process(runner: VideoRunner, todo: list[Source], progress: Meter) -> Generator[Ended]:
    """Process videos in this process. Other executors are in `vad.stages.pipelines.executors`."""
    return runner.process(todo, min(runner.decoding.workers, max(1, len(todo))), progress)


def run_videos(
    runner: VideoRunner,
    todo: list[Source],
    outcome: Outcome,
    *,
    verb: str,
    quiet: bool,
    executor: Executor = in_this_process,
    on_stored: Callable[[str], None] = lambda video: None,
) -> None:
    """Process videos, add the result for each to the outcome, and write failures to the store.

    verb: the word before the progress bar. executor: processes the videos, in this process or
    elsewhere. on_stored: called with the id of every video that is stored, by this run or by
    another.
    """
    failures = Failures(runner.store)
    if not todo:  # this path also works with a store that cannot be written
        failures.forget({*outcome.done, *outcome.skipped})
        return
    with (
        meter(verb, len(todo), unit="videos", quiet=quiet) as progress,
        closing(executor(runner, todo, progress)) as ends,
    ):
        for end in ends:
            source, error = end.source, end.error
            if error is not None:
                outcome.failed[source.id] = error
                failures.note(source, error)
            else:
                (outcome.skipped if end.by_others else outcome.done).append(source.id)
            progress.advance(name=source.id)
            if error is None:
                on_stored(source.id)
    failures.forget({*outcome.done, *outcome.skipped})
