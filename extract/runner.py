"""The runner of videos: features, captions, or both of one decoding.

    claim ──> decode once ──> batch, compute ──> commit ──> how the video ended

Every command that makes something of videos gives them to a `VideoRunner`: `vad extract`,
`vad caption`, `vad score`. Several runs may share one store: a video is claimed when a decoder is
free for it, and a run that finds it claimed by another comes back to it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vad.errors import UsageError
from vad.grid import Tail
from vad.progress import Meter, meter
from vad.store import FeatureStore, differences
from vad.store.backends.backend import Claims

from .decoders import DecoderName
from .decoders.pool import DecoderPool
from .decoders.video import Limits
from .decoders.worker import Empty
from .outcome import Ended, Failures, Outcome
from .pipeline import ClaimedVideo, Maker, Pipeline
from .records import FileState, is_unchanged
from .sources import Source

CLIPS_PER_BLOCK = 4  # that a decoder hands over together


@dataclass(frozen=True)
class Decoding:
    """How the videos of a run are decoded."""

    workers: int  # decoder processes
    tail: Tail = "repeat-last"  # of the stored videos
    decoder: DecoderName = "auto"
    limits: Limits = field(default_factory=Limits)
    time_limit_s: float = 60.0
    accept_truncated: bool = False

    def pool(self, empty: Empty) -> DecoderPool:
        """Decoder processes. They drop no tail: captions look beyond the last whole clip."""
        return DecoderPool(
            self.workers,
            clips_per_block=CLIPS_PER_BLOCK,
            tail="repeat-last" if self.tail == "drop" else self.tail,
            decoder=self.decoder,
            limits=self.limits,
            time_limit_s=self.time_limit_s,
            accept_truncated=self.accept_truncated,
            empty=empty,
        )


@dataclass
class VideoRunner:
    """Makes the arrays that videos lack in a store.

    It travels to other machines by pickle, without its makers: there, `load` makes them again, and
    they must have the same provenance.
    """

    store: str  # its address, under which every machine finds it
    load: Callable[[str | None], list[Maker]]  # on a device; None: that of the settings
    provenance: dict[str, dict[str, Any]]  # by array
    decoding: Decoding
    overwrite: bool = False  # make the arrays of stored videos again
    joins: bool = False  # see `Pipeline`
    device: str | None = None
    makers: list[Maker] | None = field(default=None, repr=False)

    def on(self, device: str) -> VideoRunner:
        """The same on another device, where the makers are loaded again."""
        return replace(self, device=device, makers=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "makers": None}

    def each(
        self, sources: Iterable[Source], n_workers: int, progress: Meter | None = None
    ) -> Generator[Ended]:
        """Do videos as they are asked for, with so many decoders; tell how each ended."""
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
        """One pass over the videos. Returns those that other runs are doing now."""
        mine: list[ClaimedVideo] = []
        stored: list[Source] = []  # by another run, since this one made its plan
        others: list[Source] = []

        def claimed() -> Iterator[Path]:
            """The videos to decode, each claimed at the moment it is asked for."""
            for source in sources:
                if not claims.take(source.id):
                    others.append(source)
                elif lacking := self._lacking(store, source, makers):
                    mine.append(ClaimedVideo(source, lacking, FileState.of(source.path)))
                    yield source.path
                else:
                    claims.release(source.id)
                    stored.append(source)

        tail, joins = self.decoding.tail, self.joins
        with Pipeline(store, makers, tail=tail, joins=joins, progress=progress) as pipeline:
            for end in pipeline.store(pool.decode(claimed()), mine):
                yield end
                claims.release(end.source.id)
        yield from (Ended(source, by_others=True) for source in stored)
        return others

    def _lacking(
        self, store: FeatureStore, source: Source, makers: Sequence[Maker]
    ) -> Sequence[Maker]:
        """The makers of the arrays that the store lacks of a video's present content."""
        if self.overwrite or not store.is_intact(source.id):
            return makers
        if not self.joins and not is_unchanged(source.path, store.record(source.id)):
            return makers
        return [maker for maker in makers if not store.is_intact(source.id, maker.array)]

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
            if differing := differences(self.provenance[maker.array], maker.provenance):
                name, (wanted, found) = next(iter(differing.items()))
                raise UsageError(
                    f"{socket.gethostname()} would make another {maker.array}: {name} is "
                    f"{found!r} there, {wanted!r} here",
                    hint="install the same weights on every machine",
                )
        return self.makers


Each = Callable[[VideoRunner, list[Source], Meter], Generator[Ended]]  # where a run is done


def in_this_process(runner: VideoRunner, todo: list[Source], progress: Meter) -> Generator[Ended]:
    """Do videos here; see `vad.stages.pipelines.executors` for other places."""
    return runner.each(todo, min(runner.decoding.workers, max(1, len(todo))), progress)


def run_videos(
    runner: VideoRunner,
    todo: list[Source],
    outcome: Outcome,
    *,
    verb: str,
    quiet: bool,
    each: Each = in_this_process,
    on_stored: Callable[[str], None] = lambda video: None,
) -> None:
    """Do videos and add to the outcome how each ended; note those that failed in the store.

    verb: the word before the progress. each: where the videos are done. on_stored gets the id of
    every video that is stored, made now or by another run.
    """
    failures = Failures(runner.store)
    if not todo:  # so a store that cannot be written need not be
        failures.forget({*outcome.done, *outcome.skipped})
        return
    with (
        meter(verb, len(todo), unit="videos", quiet=quiet) as progress,
        closing(each(runner, todo, progress)) as ends,
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
