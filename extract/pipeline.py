"""From decoded clips to stored videos: batches, computation, and the writer behind them.

    clips ──items──> batches ──> makers ──rows, perhaps still being computed──> writer ──> store

A maker makes one array of the store: a backbone makes features of clips, a captioner makes captions
of windows of frames. Several makers share one decoding of a video.

A maker begins a batch and returns at once; the writer, a thread of its own, waits for the results
in the order in which they were begun, appends them and commits. So decoding, computing and writing
go on at the same time. A batch may hold items of several videos.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.files import sha256_of
from vad.grid import ClipGrid, Tail
from vad.progress import Meter
from vad.store import Draft, FeatureStore, VideoRecord

from .decoders.pool import Clips, Decoded, DecodeReport, Event, Failed, Opened
from .decoders.video import VideoInfo
from .decoders.worker import Empty
from .outcome import Ended
from .records import FileState, decoded_record, is_unchanged, notes_on
from .sources import Source

log = logging.getLogger("vad")

Item = NDArray[np.uint8]  # what a maker computes on: frames [n, height, width, 3]


class Pending(Protocol):
    """A batch that was begun."""

    def result(self) -> NDArray[Any]:
        """The results, one row per item; waits for them."""

    def cancel(self) -> None:
        """Let it be: the results are not needed."""


class Making(Protocol):
    """One array of one video: its frames come in, items to compute on go out, results come back."""

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterable[Item]:
        """Take clips [clips, 16, height, width, 3], of which the first `n_frames` frames are the
        video's and the others fill the last clip. Returns the items that they complete."""

    def finish(self) -> Iterable[Item]:
        """The items that remain at the end of the video."""

    def write(self, results: NDArray[Any], draft: Draft) -> None:
        """Take the results of the next items, in order. Runs in the writer's thread."""

    def close(self, n_snippets: int, draft: Draft) -> None:
        """Write what is left, so that the array has `n_snippets` rows."""


class Maker(Protocol):
    """Makes one array of the store."""

    array: str  # its name in the store
    provenance: dict[str, Any]  # everything that its values depend on
    n_together: int  # items of a batch
    n_ahead: int  # items that should have been begun so that it never waits
    item_frames: int  # frames from the start of one item to the start of the next

    @property
    def empty(self) -> Empty:
        """Gives the memory in which it wants to receive clips."""

    def begin(self, info: VideoInfo) -> Making:
        """Begin a video. Raises VideoError for one that it cannot use."""

    def submit(self, items: Sequence[Item]) -> Pending:
        """Begin to compute a batch."""


@dataclass(frozen=True)
class ClaimedVideo:
    """A video that this run may store, with the makers of the arrays that it lacks."""

    source: Source
    makers: Sequence[Maker]
    state: FileState  # before it was opened


@dataclass(eq=False)
class _Job:
    """One video on its way into the store. Its draft belongs to the writer alone."""

    source: Source
    state: FileState  # of the file before it was opened
    info: VideoInfo
    makings: list[tuple[Maker, Making]]
    draft: Draft
    stored: VideoRecord | None  # the record of the stored video that the arrays shall join
    digest: Future[str] | None  # of the file; None where `stored` has it
    times: list[NDArray[np.float64]] = field(default_factory=list)
    n_waiting: int = 0  # items that are not in a batch yet
    n_frames_done: int = 0  # over all makers
    report: DecodeReport | None = None  # once it is decoded
    error: VideoError | None = None  # once it failed: nothing more is done for it


@dataclass(frozen=True)
class _Step:
    """Something the writer was told to do."""

    job: _Job
    done: Future[None]
    n_items: int = 0  # whose results it waits for
    n_frames: int = 0  # that these items stand for
    pending: Pending | None = None
    is_last: bool = False  # of its video


class Pipeline:
    """Makes stored videos of the events of decoders; use it in a `with` block.

    tail: the policy of the stored videos. joins: the arrays join the stored videos, and a file that
    is not the stored one fails; without it, a video that is stored from another content is
    replaced. progress: is told how far each video is.
    """

    def __init__(
        self,
        store: FeatureStore,
        makers: Sequence[Maker],
        *,
        tail: Tail,
        joins: bool = False,
        progress: Meter | None = None,
    ) -> None:
        self._store, self._tail, self._joins = store, tail, joins
        self._progress = progress or Meter()
        self._jobs: dict[int, _Job] = {}  # the videos being decoded, by the index of their events
        self._waiting: dict[Maker, deque[tuple[_Job, Making, Item]]] = {m: deque() for m in makers}
        self._n_ahead = sum(maker.n_ahead for maker in makers)
        self._steps: deque[_Step] = deque()
        self._n_begun = 0  # items whose results are not written yet
        self._writer = ThreadPoolExecutor(1, "writer")
        self._hashing = ThreadPoolExecutor(1, "hashing")

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what goes on; a video that is not stored by now leaves no trace."""
        for step in self._steps:
            if step.pending:
                step.pending.cancel()
        for thread in (self._writer, self._hashing):
            thread.shutdown(cancel_futures=True)
        for job in {*self._jobs.values(), *(step.job for step in self._steps)}:
            job.draft.discard()

    def store(self, events: Iterable[Event], videos: Sequence[ClaimedVideo]) -> Iterator[Ended]:
        """Store the videos of the events, each as it ends.

        videos: by the index of their events.
        Raises what writing raises, unless it is a VideoError.
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
        elif event.index in self._jobs:  # else it failed here; its decoder did not know
            job = self._jobs[event.index]
            if isinstance(event, Clips) and not job.error:
                job.times.append(event.times)
                for maker, making in job.makings:
                    self._queue(job, maker, making, making.add(event.rgb, len(event.times)))
            elif isinstance(event, Decoded):
                self._check_length(event.report)
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
            # Imported features do not identify the file that they were made of.
            if stored.source_sha256 and not is_unchanged(source.path, stored):
                raise VideoError(
                    "mismatch",
                    "it is not the file that its features were made of",
                    hint="extract it again first",
                )
        digest = None if stored else self._hashing.submit(sha256_of, source.path)
        draft = self._store.draft(source.id)
        return _Job(source, video.state, info, makings, draft, stored, digest)

    def _check_length(self, report: DecodeReport) -> None:
        if ClipGrid(self._tail).n_snippets(report.n_frames) == 0:
            raise VideoError(
                "too-short",
                f"its {report.n_frames} frames make no snippet where the tail is dropped",
                hint="--tail repeat-last",
            )

    def _queue(self, job: _Job, maker: Maker, making: Making, items: Iterable[Item]) -> None:
        for item in items:
            self._waiting[maker].append((job, making, item))
            job.n_waiting += 1

    def _begin_batches(self, *, last: bool = False) -> None:
        """Begin all batches that are full; at the end of the run, the others too."""
        for maker, waiting in self._waiting.items():
            while len(waiting) >= (1 if last else maker.n_together):
                n = min(len(waiting), maker.n_together)
                self._begin(maker, [waiting.popleft() for _ in range(n)])

    def _begin(self, maker: Maker, batch: list[tuple[_Job, Making, Item]]) -> None:
        """Begin a batch, and tell the writer to wait for it."""
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
        """The videos that ended by now; waits while more than `n_ahead` items are not written."""
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

    # --- in the writer's thread

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
        """Do a part of a video's work; an error of the video becomes its end."""
        try:
            work()
        except VideoError as error:
            job.error = error

    def _publish(self, job: _Job, report: DecodeReport) -> None:
        record = self._record(job, report)
        job.state.check_unchanged(job.source.path)
        for _, making in job.makings:
            making.close(record.grid.n_snippets(record.n_frames), job.draft)
        provenance = {maker.array: maker.provenance for maker, _ in job.makings}
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
        if self._joins and report.is_truncated:  # a stored video was accepted; this one was not
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
        return decoded_record(path, job.state, sha256, job.info, report, self._tail)
