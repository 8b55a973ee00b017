"""Captions from frames: the loop that decodes videos and asks a captioner.

    decoder processes ──clips──> windows ──batches, across videos──> captioner ──> draft ──> store

A video's captions are committed whole, beside what the store has of it, or as a video that has
captions only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.files import sha256_of
from vad.progress import Meter, meter
from vad.store import FeatureStore, VideoRecord

from ..captioners.captioner import Captioner, clean
from ..captioners.settings import CaptionSettings
from ..decoders.pool import Clips, Decoded, DecodeReport, DecoderPool, Failed, Opened
from ..decoders.video import Limits, VideoInfo
from ..outcome import Failures, Outcome
from ..records import decoded_record, is_unchanged
from ..sources import Source
from .windows import Windows, n_windows, rows_of


@dataclass
class _Job:
    """One video on its way: windows come in, captions come back in their order."""

    source: Source
    info: VideoInfo
    windows: Windows
    stored: VideoRecord | None  # what the store has of it
    captions: list[str] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    report: DecodeReport | None = None  # once it is decoded to its end


class CaptionRun:
    """A run of a captioner over videos. `array` is the name of the captions in the store."""

    def __init__(
        self,
        store: FeatureStore,
        captioner: Captioner,
        array: str,
        provenance: Mapping[str, Any],
        settings: CaptionSettings,
    ) -> None:
        self.store, self._captioner = store, captioner
        self.array, self.provenance, self.settings = array, dict(provenance), settings
        self._failures = Failures(store.backend)
        self._jobs: dict[int, _Job] = {}
        self._waiting: deque[tuple[int, NDArray[np.uint8]]] = deque()  # video, window

    def run(self, todo: Sequence[Source], outcome: Outcome, *, quiet: bool) -> None:
        """Caption videos. Interrupt it at any moment: committed videos stay."""
        settings = self.settings
        pool = DecoderPool(
            min(settings.workers, max(1, len(todo))),
            clips_per_block=settings.batch,
            tail="repeat-last",  # what fills the last clip is never looked at
            limits=Limits(max_pixels=settings.max_pixels),
            time_limit_s=settings.time_limit,
            accept_truncated=True,  # a stored one was accepted; another must be as it is
        )
        with pool, meter("caption", len(todo), unit="videos", quiet=quiet) as progress:
            for event in pool.decode([source.path for source in todo]):
                index, source = event.index, todo[event.index]
                try:
                    if isinstance(event, Opened):
                        self._jobs[index] = self._begin(source, event.info)
                    elif isinstance(event, Failed):
                        raise event.error
                    elif isinstance(event, Clips) and index in self._jobs:
                        job = self._jobs[index]
                        job.times.append(event.times)
                        for window in job.windows.add(event.rgb, len(event.times)):
                            self._waiting.append((index, window))
                    elif isinstance(event, Decoded) and index in self._jobs:
                        job = self._jobs[index]
                        job.report = event.report
                        self._waiting.extend((index, window) for window in job.windows.finish())
                except VideoError as error:
                    self._drop(index, source, error, outcome, progress)
                self._caption(settings.batch, outcome, progress)
            self._caption(1, outcome, progress)

    def _begin(self, source: Source, info: VideoInfo) -> _Job:
        stored = self.store.record(source.id) if source.id in self.store else None
        seen = stored is not None and stored.source_sha256  # imported features were not read here
        if stored and seen and not is_unchanged(source.path, stored):
            raise VideoError(
                "mismatch",
                "it is not the file that its features were made of",
                hint="extract it again first",
            )
        windows = Windows(self._captioner.offsets, self.settings.stride)
        return _Job(source, info, windows, stored)

    def _caption(self, least: int, outcome: Outcome, progress: Meter) -> None:
        """Caption what waits, as long as there is a batch of at least that many windows."""
        while len(self._waiting) >= least:
            n = min(len(self._waiting), self.settings.batch)
            some = [self._waiting.popleft() for _ in range(n)]
            texts = self._captioner([window for _, window in some])
            for (index, _), text in zip(some, texts, strict=True):
                job = self._jobs[index]
                job.captions.append(clean(text))
                if n_expected := n_windows(job.info.n_packets, self.settings.stride):
                    progress.under_way(job.source.id, len(job.captions) / n_expected)
            progress.note(job.source.id)
            self._commit(outcome, progress)
        self._commit(outcome, progress)

    def _commit(self, outcome: Outcome, progress: Meter) -> None:
        """Store the videos that have all their captions."""
        stride = self.settings.stride
        for index, job in list(self._jobs.items()):
            if job.report and len(job.captions) == n_windows(job.report.n_frames, stride):
                try:
                    self._store_captions(job, job.report)
                except VideoError as error:
                    self._drop(index, job.source, error, outcome, progress)
                    continue
                del self._jobs[index]
                outcome.done.append(job.source.id)
                progress.advance(name=job.source.id)

    def _store_captions(self, job: _Job, report: DecodeReport) -> None:
        record = job.stored or new_record(job.source, job.info, report)
        if record.n_frames != report.n_frames:
            raise VideoError(
                "mismatch",
                f"{report.n_frames} frames were decoded, its features are of {record.n_frames}",
                hint="extract it again first",
            )
        n_snippets = record.grid.n_snippets(record.n_frames)
        rows = rows_of(job.captions, n_snippets, self.settings.stride)
        store_captions(
            self.store,
            job.source.id,
            self.array,
            rows,
            record,
            np.concatenate(job.times),
            self.provenance,
        )

    def _drop(
        self, index: int, source: Source, error: VideoError, outcome: Outcome, progress: Meter
    ) -> None:
        self._jobs.pop(index, None)
        self._waiting = deque(item for item in self._waiting if item[0] != index)
        outcome.failed[source.id] = error
        self._failures.note(source, error)
        progress.advance(name=source.id)


def store_captions(
    store: FeatureStore,
    video_id: str,
    array: str,
    rows: Sequence[str],
    record: VideoRecord,
    times: NDArray[np.float64],
    provenance: Mapping[str, Any],
) -> None:
    """Commit the captions of a video, one a snippet."""
    draft = store.draft(video_id)
    draft.append(array, np.array(rows, dtype=object))
    draft.commit(record, times, {array: provenance})


def new_record(source: Source, info: VideoInfo, report: DecodeReport) -> VideoRecord:
    """What there is to say of a video that is stored with captions only."""
    if report.is_truncated:
        raise VideoError(
            "truncated",
            f"it ends after {report.n_frames} of {report.n_frames_expected} frames",
            hint="vad extract --accept-truncated keeps it",
        )
    return decoded_record(source.path, sha256_of(source.path), info, report, "repeat-last")
