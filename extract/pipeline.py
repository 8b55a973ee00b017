"""From decoded clips to stored videos: batches, features, and the writer behind them.

    clips ──batch──> backbone ──features, perhaps still being computed──> writer ──> store

The backbone begins and comes back at once; the writer, a thread of its own, waits for features in
the order in which they were begun, and appends and commits. So decoding, computing and writing go
on at the same time. On a GPU a batch holds clips of several videos where one has too few of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.files import sha256_of
from vad.grid import CLIP_FRAMES, Tail
from vad.progress import Meter
from vad.store import Draft, FeatureStore

from .backbones.backbone import Backbone, Features
from .crops import resized_size
from .decoders.pool import Clips, Decoded, DecodeReport, Event, Failed, Opened
from .decoders.video import VideoInfo
from .outcome import Ended
from .records import decoded_record
from .sources import Source


@dataclass(eq=False)
class _Job:
    """One video on its way into the store. Its draft is the writer's alone."""

    source: Source
    info: VideoInfo
    draft: Draft
    digest: Future[str]
    times: list[NDArray[np.float64]] = field(default_factory=list)
    n_waiting: int = 0  # clips that are not in a batch yet
    n_written: int = 0  # clips whose features are in the draft
    report: DecodeReport | None = None  # once it is decoded
    error: VideoError | None = None  # once it failed: nothing more is done for it


@dataclass(frozen=True)
class _Step:
    """Something the writer was told to do."""

    job: _Job
    n_clips: int  # whose features it waits for
    done: Future[None]
    features: Features | None = None
    is_last: bool = False  # of its video


class Pipeline:
    """Makes stored videos out of the events of decoders; use it in a `with` block.

    array, provenance: name and record of what the backbone makes. dtype: of what is stored.
    progress hears how far every video is.
    """

    def __init__(
        self,
        store: FeatureStore,
        backbone: Backbone,
        *,
        array: str,
        provenance: dict[str, Any],
        dtype: str,
        tail: Tail,
        progress: Meter | None = None,
    ) -> None:
        self._store, self._backbone = store, backbone
        self._progress = progress or Meter()
        self._array, self._provenance = array, provenance
        self._dtype, self._tail = np.dtype(dtype), tail
        self._jobs: dict[int, _Job] = {}  # the videos being decoded, by the index of their events
        self._waiting: list[tuple[_Job, NDArray[np.uint8]]] = []  # clips for the next batch
        self._steps: deque[_Step] = deque()
        self._n_begun = 0  # clips whose features are not written yet
        self._writer = ThreadPoolExecutor(1, "writer")
        self._hashing = ThreadPoolExecutor(1, "hashing")

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what goes on; a video that is not stored by now leaves no trace."""
        for step in self._steps:
            if step.features:
                step.features.cancel()
        for thread in (self._writer, self._hashing):
            thread.shutdown(cancel_futures=True)
        for job in {*self._jobs.values(), *(step.job for step in self._steps)}:
            job.draft.discard()

    def store(self, events: Iterable[Event], sources: Sequence[Source]) -> Iterator[Ended]:
        """Store the videos of the events: each source, by the events' index, as it ends.

        Raises what writing raises, unless it is a VideoError.
        """
        for event in events:
            source = sources[event.index]
            try:
                self._take(event, source)
            except VideoError as error:
                if job := self._jobs.pop(event.index, None):
                    job.error = job.error or error
                    self._end(job)
                else:
                    yield Ended(source, error)
            while len(self._waiting) >= self._backbone.n_clips:
                self._begin(self._backbone.n_clips)
            yield from self._settle(self._backbone.n_ahead)
        while self._waiting:
            self._begin(self._backbone.n_clips)
        yield from self._settle(-1)

    def _take(self, event: Event, source: Source) -> None:
        if isinstance(event, Opened):
            # Pictures that the recipe refuses are told before any of them is decoded.
            resized_size(event.info.height, event.info.width, self._backbone.recipe)
            digest = self._hashing.submit(sha256_of, source.path)
            self._jobs[event.index] = _Job(source, event.info, self._store.draft(source.id), digest)
        elif isinstance(event, Failed):
            raise event.error
        elif event.index in self._jobs:  # else it failed here; its decoder did not know
            job = self._jobs[event.index]
            if isinstance(event, Clips) and not job.error:
                self._waiting += [(job, clip) for clip in event.rgb]
                job.n_waiting += len(event.rgb)
                job.times.append(event.times)
            elif isinstance(event, Decoded):
                job.report = event.report
                del self._jobs[event.index]
                if job.n_waiting == 0:
                    self._end(job)

    def _begin(self, n_clips: int) -> None:
        """Begin the features of the next clips, and tell the writer to wait for them."""
        batch, self._waiting = self._waiting[:n_clips], self._waiting[n_clips:]
        features = self._backbone.submit([clip for _, clip in batch])
        start = 0
        for job, clips in groupby(job for job, _ in batch):
            n = len(list(clips))
            rows = slice(start, start + n)
            self._tell(job, partial(self._append, job, features, rows), n, features)
            start += n
            job.n_waiting -= n
            if job.report and job.n_waiting == 0:
                self._end(job)

    def _end(self, job: _Job) -> None:
        self._tell(job, partial(self._commit, job), is_last=True)

    def _tell(
        self,
        job: _Job,
        work: Callable[[], None],
        n_clips: int = 0,
        features: Features | None = None,
        *,
        is_last: bool = False,
    ) -> None:
        done = self._writer.submit(work)
        self._steps.append(_Step(job, n_clips, done, features, is_last))
        self._n_begun += n_clips

    def _settle(self, n_ahead: int) -> Iterator[Ended]:
        """What ended by now; waits while more than `n_ahead` clips are begun and not written."""
        while self._steps and (self._n_begun > n_ahead or self._steps[0].done.done()):
            step = self._steps[0]
            step.done.result()
            self._steps.popleft()
            self._n_begun -= step.n_clips
            job = step.job
            job.n_written += step.n_clips
            if step.is_last:
                yield Ended(job.source, job.error)
            elif job.info.n_packets:
                share = job.n_written * CLIP_FRAMES / job.info.n_packets
                self._progress.under_way(job.source.id, share)

    # --- in the writer's thread

    def _append(self, job: _Job, features: Features, rows: slice) -> None:
        values = features.result()[rows].astype(self._dtype)
        if job.error:
            return
        try:
            job.draft.append(self._array, values)
        except VideoError as error:
            job.error = error

    def _commit(self, job: _Job) -> None:
        try:
            if job.report and not job.error:
                self._publish(job, job.report)
        except VideoError as error:
            job.error = error
        if job.error:
            job.draft.discard()

    def _publish(self, job: _Job, report: DecodeReport) -> None:
        path, digest = job.source.path, job.digest.result()
        record = decoded_record(path, digest, job.info, report, self._tail)
        job.draft.commit(record, np.concatenate(job.times), {self._array: self._provenance})
