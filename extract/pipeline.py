"""From decoded clips to stored videos: batches, computation, and a thread that writes the
results.

    clips ──items──> batches ──> makers ──rows, perhaps still being computed──> writer ──> store

A maker makes arrays of the store: a backbone makes features of clips, a captioner makes captions of
windows of frames. Several makers share one decoding of a video.

A maker starts a batch and returns at once. The writer thread waits for the results in the order in
which the batches were started, appends them to the array and commits the video. So decoding,
computing and writing run at the same time. A batch can hold items of several videos.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.files import sha256_of
from vad.grid import ClipGrid
from vad.store import Draft, FeatureStore, Provenance, VideoRecord
from vad.terminal import Meter

from .decoders.pool import Clips, Decoded, DecodeReport, Event, Failed, Opened
from .decoders.video import VideoInfo
from .decoders.worker import Empty
from .outcome import Ended
from .records import FileState, decoded_record, is_unchanged, notes_on
from .sources import Source

log = logging.getLogger("vad")

Item = NDArray[np.uint8]  # the input for one row of results: frames [n, height, width, 3]


class Pending(Protocol):
    """A batch whose computation has been started."""

    def result(self) -> NDArray[np.generic]:
        """Wait for the results and return them, one row per item: [items, ...]."""

    def cancel(self) -> None:
        """Cancel the computation, because its results are not needed."""


class Making(Protocol):
    """The arrays of one maker for one video, while they are computed.

    It receives the video's frames, returns the items to compute, and receives the results of these
    items.
    """

    def add(self, frames: NDArray[np.uint8]) -> Iterable[Item]:
        """Receive the next frames [n, height, width, 3] and return the items that they
        complete.
        """

    def finish(self) -> Iterable[Item]:
        """Return the items that remain at the end of the video."""

    def write(self, results: NDArray[np.generic], draft: Draft) -> None:
        """Append the results of the next items, in order, to the draft. Runs in the writer
        thread.
        """

    def close(self, record: VideoRecord, draft: Draft) -> None:
        """Write the remaining rows, so that the array has a row for every snippet of the video.
        Runs in the writer thread.
        """


class Maker(Protocol):
    """Makes one array of the store, or several at once, for any number of videos."""

    arrays: tuple[str, ...]  # their names in the store
    provenance: Provenance  # everything that the arrays' values depend on
    n_together: int  # items per batch
    n_ahead: int  # items to keep in progress, so that the maker is never idle
    item_frames: int  # frames from the start of one item to the start of the next

    @property
    def empty(self) -> Empty:
        """The function that allocates the memory in which this maker wants to receive clips."""

    def begin(self, info: VideoInfo) -> Making:
        """Begin a video. Raises VideoError if this maker cannot use the video."""

    def submit(self, items: Sequence[Item]) -> Pending:
        """Start computing a batch and return without waiting for it."""


@dataclass(frozen=True)
class ClaimedVideo:
    """A video that this run has claimed, so that no other run stores it, with the makers of the
    arrays that the store lacks.
    """

    source: Source
    makers: Sequence[Maker]
    state: FileState  # of the file before it was opened


@dataclass(eq=False)
class _Job:
    """One video between decoding and the store. Only the writer thread uses its draft."""

    source: Source
    state: FileState  # of the file before it was opened
    info: VideoInfo
    makings: list[tuple[Maker, Making]]
    draft: Draft
    stored: VideoRecord | None  # the record of the stored video, if the arrays are added to one
    digest: Future[str] | None  # SHA-256 of the file; None if `stored` is set
    times: list[NDArray[np.float64]] = field(default_factory=list)
    n_waiting: int = 0  # items that are in no batch yet
    n_frames_done: int = 0  # summed over the makers
    report: DecodeReport | None = None  # set once the video is decoded
    error: VideoError | None = None  # set once the video failed; its later results are dropped


@dataclass(frozen=True)
class _Step:
    """One task of the writer thread: to write the results of a batch or to commit a video."""

    job: _Job
    done: Future[None]
    n_items: int = 0  # items whose results this step writes
    n_frames: int = 0  # frames that these items cover
    pending: Pending | None = None
    is_last: bool = False  # the video's last step, which commits it


class Pipeline:
    """Turns the events of the decoders into stored videos; use it in a `with` block.

    grid: the clip grid of the stored videos. joins: if True, the arrays are added to stored
    videos, and a file that differs from the stored one fails; if False, a video that was stored
    from other content is replaced. progress: receives the share of each video that is done.
    """

    def __init__(
        self,
        store: FeatureStore,
        makers: Sequence[Maker],
        *,
        grid: ClipGrid,
        joins: bool = False,
        progress: Meter | None = None,
    ) -> None:
        self._store, self._grid, self._joins = store, grid, joins
        self._progress = progress or Meter()
        self._jobs: dict[int, _Job] = {}  # videos being decoded, by event index
        self._waiting: dict[Maker, deque[tuple[_Job, Making, Item]]] = {m: deque() for m in makers}
        self._n_ahead = sum(maker.n_ahead for maker in makers)
        self._steps: deque[_Step] = deque()
        self._n_begun = 0  # items in started batches whose results are not written yet
        self._writer = ThreadPoolExecutor(1, "writer")
        self._hashing = ThreadPoolExecutor(1, "hashing")

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel the batches in progress and discard the videos that are not yet stored."""
        for step in self._steps:
            if step.pending:
                step.pending.cancel()
        for thread in (self._writer, self._hashing):
            thread.shutdown(cancel_futures=True)
        for job in {*self._jobs.values(), *(step.job for step in self._steps)}:
            job.draft.discard()

    def store(self, events: Iterable[Event], videos: Sequence[ClaimedVideo]) -> Iterator[Ended]:
        """Store the videos of the events, and yield the result for each video as soon as it is
        known.

        videos: indexed by the `index` of the events. Raises any error of writing that is not a
        VideoError.
        """
        for event in events:
            video = videos[event.index]
            try:
                self._take(event, video)
            except VideoError as error:
                if job := self._jobs.pop(event.index, None):
                    job.error = job.error or error
                    self._end(job)
                else:
                    yield Ended(video.source, error)
            self._begin_batches()
            yield from self._settle(self._n_ahead)
        self._begin_batches(last=True)
        yield from self._settle(-1)

    def _take(self, event: Event, video: ClaimedVideo) -> None:
        if isinstance(event, Opened):
            self._jobs[event.index] = self._open(video, event.info)
        elif isinstance(event, Failed):
            raise event.error
        elif event.index in self._jobs:  # else it failed here, unknown to its decoder
            job = self._jobs[event.index]
            if isinstance(event, Clips) and not job.error:
                job.times.append(event.times)
                for maker, making in job.makings:
                    self._queue(job, maker, making, making.add(event.frames))
            elif isinstance(event, Decoded):
                self._check_length(event.report, self._jobs[event.index].info.n_frames)
                for maker, making in job.makings:
                    self._queue(job, maker, making, making.finish())
                job.report = event.report
                del self._jobs[event.index]
                if job.n_waiting == 0:
                    self._end(job)

    def _open(self, video: ClaimedVideo, info: VideoInfo) -> _Job:
        source, makings = video.source, [(maker, maker.begin(info)) for maker in video.makers]
        stored = None
        if self._joins and source.id in self._store:
            stored = self._store.record(source.id)
            # Imported features have no checksum of the file that they were made from.
            if stored.source_sha256 and not is_unchanged(source.path, stored):
                raise VideoError(
                    "mismatch",
                    "it is not the file that its features were made of",
                    hint="extract it again first",
                )
        digest = None if stored else self._hashing.submit(sha256_of, source.path)
        draft = self._store.draft(source.id)
        return _Job(source, video.state, info, makings, draft, stored, digest)

    def _check_length(self, report: DecodeReport, n_counted: int | None) -> None:
        if self._grid.n_snippets(report.n_frames) == 0:
            raise VideoError(
                "too-short",
                f"its {report.n_frames} frames make no snippet where the tail is dropped",
                hint="--tail repeat-last",
            )
        if n_counted not in (None, report.n_frames):
            raise VideoError("damaged", f"{n_counted} frames were counted, {report.n_frames} came")

    def _queue(self, job: _Job, maker: Maker, making: Making, items: Iterable[Item]) -> None:
        for item in items:
            self._waiting[maker].append((job, making, item))
            job.n_waiting += 1

    def _begin_batches(self, *, last: bool = False) -> None:
        """Start all batches that are full; if `last`, the incomplete ones too."""
        for maker, waiting in self._waiting.items():
            while len(waiting) >= (1 if last else maker.n_together):
                n = min(len(waiting), maker.n_together)
                self._begin(maker, [waiting.popleft() for _ in range(n)])

    def _begin(self, maker: Maker, batch: list[tuple[_Job, Making, Item]]) -> None:
        """Start a batch, and queue the steps that write its results, one step per video."""
        pending = maker.submit([item for _, _, item in batch])
        start = 0
        for (job, making), items in groupby((job, making) for job, making, _ in batch):
            n = len(list(items))
            write = partial(self._write, job, making, pending, slice(start, start + n))
            self._tell(_Step(job, self._writer.submit(write), n, n * maker.item_frames, pending))
            start += n
            job.n_waiting -= n
            if job.report and job.n_waiting == 0:
                self._end(job)

    def _end(self, job: _Job) -> None:
        self._tell(_Step(job, self._writer.submit(self._commit, job), is_last=True))

    def _tell(self, step: _Step) -> None:
        self._steps.append(step)
        self._n_begun += step.n_items

    def _settle(self, n_ahead: int) -> Iterator[Ended]:
        """Yield the results of the videos that have ended. Waits while more than `n_ahead` items
        are not written.
        """
        while self._steps and (self._n_begun > n_ahead or self._steps[0].done.done()):
            step = self._steps[0]
            step.done.result()
            self._steps.popleft()
            self._n_begun -= step.n_items
            job = step.job
            job.n_frames_done += step.n_frames
            if step.is_last:
                yield Ended(job.source, job.error)
            elif job.info.n_packets:
                share = job.n_frames_done / (len(job.makings) * job.info.n_packets)
                self._progress.under_way(job.source.id, share)

    # --- these methods run in the writer thread

    def _write(self, job: _Job, making: Making, pending: Pending, rows: slice) -> None:
        results = pending.result()[rows]
        if not job.error:
            self._failing(job, partial(making.write, results, job.draft))

    def _commit(self, job: _Job) -> None:
        if job.report and not job.error:
            self._failing(job, partial(self._publish, job, job.report))
        if job.error:
            job.draft.discard()

    def _failing(self, job: _Job, work: Callable[[], None]) -> None:
        """Run one part of a video's work; if it raises VideoError, mark the video as failed."""
        try:
            work()
        except VideoError as error:
            job.error = error

    def _publish(self, job: _Job, report: DecodeReport) -> None:
        record = self._record(job, report)
        job.state.check_unchanged(job.source.path)
        for _, making in job.makings:
            making.close(record, job.draft)
        provenance = {array: maker.provenance for maker, _ in job.makings for array in maker.arrays}
        job.draft.commit(record, np.concatenate(job.times), provenance)
        if job.stored is None:
            for note in notes_on(record):
                log.warning("%s: %s", job.source.path, note)

    def _record(self, job: _Job, report: DecodeReport) -> VideoRecord:
        if job.stored is not None:
            if job.stored.n_frames != report.n_frames:
                raise VideoError(
                    "mismatch",
                    f"{report.n_frames} frames were decoded, its features are of "
                    f"{job.stored.n_frames}",
                    hint="extract it again first",
                )
            return job.stored
        if self._joins and report.is_truncated:  # stored videos were judged before
            raise VideoError(
                "truncated",
                f"it ends after {report.n_frames} of {report.n_frames_expected} frames",
                hint="vad extract --accept-truncated keeps it",
            )
        assert job.digest is not None
        try:
            sha256 = job.digest.result()
        except OSError:
            job.state.check_unchanged(job.source.path)
            raise
        path = job.source.path
        return decoded_record(path, job.state, sha256, job.info, report, self._grid)
