"""Import of published feature files into a store: `vad import features`.

Published features come without their videos, so their lengths and times are not known. The number
of frames comes from `--frames`, or from the store if it holds the video already; otherwise 16
frames per snippet are assumed. The video's record and the provenance (`assumed`) state such
assumptions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES, DENSE, ClipGrid
from vad.store import FeatureStore, Provenance, VideoRecord, differences
from vad.store.arrays import digest_of
from vad.terminal import meter
from vad.version import VERSION

from ..outcome import Failures, Outcome
from ..records import grid_of_store, refuse_mix, refuse_sampling, unseen_record
from ..sources import Source
from .arrays import segment_means
from .beside import Timing
from .checks import Shape, check_labels, common_shape, fit, read_frames, tail_of
from .finding import Crops, FoundFiles, find_files
from .layout import STREAMS, Layout

log = logging.getLogger("vad")

USUAL_FPS = 30.0  # assumed for a new video if neither its files nor the user tell the rate
BLOCK_ROWS = 512  # snippets per block: 42 MB of ten-crop 2048-d float32


@dataclass(frozen=True)
class FileFeatures:
    """The features of one video in its files, read a block at a time."""

    arrays: list[NDArray[np.generic]]  # one array; or one per crop, or one per part of dim
    crop_axis: int | None
    index: NDArray[np.int64]  # [snippets]: the row of each snippet
    joins_dims: bool  # the arrays are parts of dim, to be concatenated

    def blocks(self, dtype: str, *, text: bool) -> Iterator[NDArray[np.generic]]:
        """Yield blocks of snippets in order: [n, crops, dim], or [n, dim] if `text`."""
        for start in range(0, len(self.index), BLOCK_ROWS):
            rows = self.index[start : start + BLOCK_ROWS]
            if self.crop_axis is None:
                parts = [array[rows] for array in self.arrays]
            else:
                parts = [np.moveaxis(array, self.crop_axis, 1)[rows] for array in self.arrays]
            if self.joins_dims:
                parts = [np.concatenate(parts, axis=-1)]
            block = np.stack(parts, axis=1) if self.crop_axis is None else parts[0]
            with np.errstate(over="ignore"):  # the importer reports values that are not finite
                block = np.ascontiguousarray(block, dtype)
            yield block[:, 0] if text else block


def import_features(
    paths: Iterable[str | Path] | str | Path,
    store: str | Path = "features.zarr",
    *,
    layout: str = "auto",
    name: str | None = None,
    labels: str | Path | None = None,
    frames: str | Path | None = None,
    fps: float | None = None,
    axes: str = "auto",
    dtype: str | None = None,
    origin: str = "",
    stream: str = "both",
    overwrite: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Import published features into a store; videos that are stored already are skipped.

    layout: one of `LAYOUTS`, or auto. name: of the array, by default the layout's. labels: a labels
    file, checked against the labels in video names. frames: a CSV `video,frames`. fps: assumed for
    the times, by default 30 for new videos. axes: order of the first two axes, if shapes are
    ambiguous. dtype: float16 or float32, by default as in the files. origin: free text for the
    provenance. stream: of files NAME_rgb.npy and NAME_flow.npy, take rgb, flow or both side by
    side. Raises UsageError for wrong input; a file that cannot be used fails only its video.
    """
    if fps is not None and not fps > 0:
        raise UsageError(f"a frame rate is more than 0, not {fps}")
    found = find_files([paths] if isinstance(paths, str | Path) else paths, layout)
    found = _of_stream(found, stream)
    lengths = read_frames(Path(frames), found.videos) if frames else {}
    if labels:
        check_labels(Path(labels), found.videos)
    outcome = Outcome(failed=_not_here(found))
    crop_axis, made = _survey(found, outcome, axes, dtype)
    made |= {"origin": origin, "clip_frames": CLIP_FRAMES, "vad": VERSION}
    if found.layout.joins_dims:
        made["stream"] = stream
    opened = FeatureStore.create(store)
    if not set(found.videos) <= set(opened.ids()):
        refuse_sampling(
            opened, DENSE, hint="import into another --store; features of its videos are taken"
        )
    made |= (grid_of_store(opened) or ClipGrid()).sampling.provenance()
    provenance = Provenance.of(made)
    array = f"{found.layout.kind}/{name or found.layout.array}"
    task = _Task(opened, found.layout, array, provenance, crop_axis, fps, found.timings)
    if not overwrite:
        hint = "choose another --name, another --store, or --overwrite"
        refuse_mix(task.store, array, provenance, hint=hint)
    task.store.sweep()
    todo = {video: crops for video, crops in found.videos.items() if video not in outcome.failed}
    with meter("import", len(todo), unit="videos", quiet=quiet) as progress:
        for video, crops in todo.items():
            try:
                done = task.take(video, crops, lengths.get(video))
                (outcome.done if done else outcome.skipped).append(video)
            except VideoError as error:
                outcome.failed[video] = error
            progress.advance()
    task.tell()
    _report(found, outcome, Failures(task.store.backend))
    return outcome


def _of_stream(found: FoundFiles, stream: str) -> FoundFiles:
    """Keep only the files of the stream that was asked for. Raises UsageError if there are none."""
    if stream not in ("both", *STREAMS):
        raise UsageError(f"streams are both, {' or '.join(STREAMS)}, not {stream!r}")
    if stream == "both" or not found.layout.joins_dims:
        return found
    wanted = STREAMS.index(stream)
    videos = {v: {0: files[wanted]} for v, files in found.videos.items() if wanted in files}
    if not videos:
        raise UsageError(f"there is no file NAME_{stream}.npy", hint="leave --stream out")
    return replace(found, videos=videos)


def _not_here(found: FoundFiles) -> dict[str, VideoError]:
    return {
        video: VideoError("unreadable", f"{line} is in the list, but not in the folders given")
        for video, line in found.missing.items()
    }


def _report(found: FoundFiles, outcome: Outcome, failures: Failures) -> None:
    for video, why in outcome.failed.items():
        path = next(iter(found.videos.get(video, {}).values()), Path(found.missing.get(video, "")))
        failures.note(Source(video, path), why)
    failures.forget(set(outcome.done + outcome.skipped))


@dataclass(frozen=True)
class _Task:
    """The settings and the store of one import, shared by all its videos."""

    store: FeatureStore
    layout: Layout
    array: str
    provenance: Provenance
    crop_axis: int | None
    fps: float | None  # from the user, for videos whose files do not tell it; None if not given
    timings: Mapping[str, Timing]  # by video, from files beside the features
    short: list[str] = field(default_factory=list)  # videos that lack their last snippet
    stacks: dict[str, int] = field(default_factory=dict)  # frames per row, if they are not 16
    unread: dict[str, str] = field(default_factory=dict)  # videos whose times are not used, and why
    kept: dict[str, float] = field(default_factory=dict)  # stored rates that differ from `fps`

    def take(self, video: str, crops: Crops, n_frames: int | None) -> bool:
        """Store one video and return True; return False if it is stored already with the same
        content.
        """
        arrays = [self.layout.open(crops[k]) for k in sorted(crops)]
        axis = 0 if self.crop_axis == 1 or self.crop_axis is None else 1
        counts = {array.shape[axis] for array in arrays}
        if len(counts) > 1:
            raise VideoError("mismatch", f"its crops have {sorted(counts)} snippets")
        n_rows = counts.pop()
        timing = self.timings.get(video, Timing()).of_rows(n_rows)
        record, index, assumed = self._place(video, crops, n_rows, n_frames, timing)
        if self.layout.n_segments == n_rows > len(index):
            arrays = [segment_means(array, len(index)) for array in arrays]
        features = FileFeatures(arrays, self.crop_axis, index, self.layout.joins_dims)
        dtype, text = self.provenance.dtype or "float32", self.layout.kind == "text"
        if self._is_stored(video, record, features.blocks(dtype, text=text)):
            return False
        draft = self.store.draft(video)
        try:
            for block in features.blocks(dtype, text=text):
                if not np.isfinite(block).all():
                    raise VideoError(
                        "not-finite",
                        f"{crops[min(crops)]} holds values that are not finite",
                        hint="np.isfinite finds them; if it finds none, some values are too large "
                        f"for {dtype}",
                    )
                draft.append(self.array, block)
            times = timing.times_s(record.n_frames)
            times = np.arange(record.n_frames) / record.fps if times is None else times
            if video in self.store and self.store.record(video) == record:
                times = self.store.times(video)
            made = Provenance.of({**self.provenance.document, "assumed": assumed})
            draft.commit(record, times, {self.array: made})
        finally:
            draft.discard()
        return True

    def _place(
        self, video: str, crops: Crops, n_rows: int, n_frames: int | None, timing: Timing
    ) -> tuple[VideoRecord, NDArray[np.int64], list[str]]:
        """Return the video's record, the row of each snippet, and the names of the assumed
        values.
        """
        stored = self.store.record(video) if video in self.store else None
        if stored and set(self.store.names(video)) - {self.array}:
            if n_frames not in (None, stored.n_frames):
                raise VideoError(
                    "mismatch",
                    f"it has {n_frames} frames in the CSV, {stored.n_frames} in the store",
                    hint="correct the CSV, or import all arrays of the video into another --store",
                )
            if self.fps not in (None, stored.fps):
                self.kept[video] = stored.fps
            n_snippets = stored.grid.n_snippets(stored.n_frames)
            return stored, fit(n_rows, n_snippets, self.layout), self._assumed(video)
        fps = timing.frames_fps
        assumed = [] if fps else ["fps"]
        n_frames = n_frames or self._known_length(video, n_rows)
        assumed += [] if n_frames else ["frames"]
        n_frames = n_frames or n_rows * CLIP_FRAMES
        fps = fps or self.fps or (stored.fps if stored else USUAL_FPS)
        tail, index = tail_of(n_rows, n_frames, self.layout)
        if len(index) > n_rows:
            self.short.append(video)
        if timing.unread:
            self.unread[video] = timing.unread
        if timing.frames_per_row != CLIP_FRAMES:
            self.stacks[video] = timing.frames_per_row
        path = crops[min(crops)]
        record = unseen_record(path, n_frames, fps, tail, decoder="imported")
        if (times := timing.times_s(n_frames)) is not None:
            record = replace(record, duration_s=float(times[-1]) + 1 / record.fps)
        return record, index, assumed

    def tell(self) -> None:
        """Log what the user should know of the videos that were taken, one line for each kind."""
        if self.short:
            log.warning(
                "%d videos lack their last snippet, such as %s: its frames take the one before",
                len(self.short),
                self.short[0],
            )
        for video, why in list(self.unread.items())[:1]:
            log.warning(
                "%d videos have times that are not used: %s, %s", len(self.unread), video, why
            )
        for video, n_frames in list(self.stacks.items())[:1]:
            log.warning(
                "%d videos have a row for more or fewer frames than 16, such as %s for %d: its "
                "seconds are right, its frames are counted 16 a row",
                *(len(self.stacks), video, n_frames),
            )

        for video, fps in list(self.kept.items())[:1]:
            log.warning(
                "%d videos keep the frame rate that the store has, such as %s: %g, not %g",
                *(len(self.kept), video, fps, self.fps),
            )

    def _known_length(self, video: str, n_rows: int) -> int | None:
        """Return the number of frames that an earlier import of the array was told for a video.

        None if there was no such import, if its array is damaged, or if the number does not fit the
        rows.
        """
        if not self.store.is_intact(video, self.array):
            return None
        if "frames" in (self.store.info(video, self.array).provenance.assumed or ()):
            return None
        n_frames = self.store.record(video).n_frames
        try:
            tail_of(n_rows, n_frames, self.layout)
        except VideoError:
            return None
        return n_frames

    def _assumed(self, video: str) -> list[str]:
        """Return the assumptions that other arrays of a stored video record in their provenance."""
        others = (n for n in self.store.names(video) if n != self.array)
        made = (self.store.info(video, n).provenance.assumed for n in others)
        return next((list(assumed) for assumed in made if assumed is not None), [])

    def _is_stored(
        self, video: str, record: VideoRecord, blocks: Iterator[NDArray[np.generic]]
    ) -> bool:
        if not self.store.is_intact(video, self.array):
            return False
        before, stored = self.store.record(video), self.store.info(video, self.array)
        if (before.n_frames, before.fps) != (record.n_frames, record.fps):
            return False
        if differences(stored.provenance, self.provenance):
            return False
        return stored.sha256 == digest_of(blocks)


def _survey(
    found: FoundFiles, outcome: Outcome, axes: str, dtype: str | None
) -> tuple[int | None, dict[str, object]]:
    """Open every file, and return the axis of the crops and the provenance that the shapes
    determine.
    """
    if dtype not in (None, "float16", "float32"):
        raise UsageError(f"features are stored as float16 or float32, not {dtype}")
    shapes: dict[str, Shape] = {}
    dtypes = set()
    for video, crops in found.videos.items():
        try:
            arrays = {str(path): found.layout.open(path) for path in crops.values()}
        except VideoError as error:
            outcome.failed[video] = error
            continue
        shapes |= {name: array.shape for name, array in arrays.items()}
        dtypes |= {array.dtype for array in arrays.values()}
    if not shapes:
        raise next(iter(outcome.failed.values()))
    crop_axis, n_crops, dim = common_shape(shapes, axes)
    if crop_axis is None:
        n_crops = _n_crops(found, outcome)
    stored_as = dtype or ("float16" if dtypes == {np.dtype(np.float16)} else "float32")
    if found.layout.joins_dims:
        dim *= max(map(len, found.videos.values()))
    made: dict[str, object] = {"imported": found.layout.name, "dim": dim, "dtype": stored_as}
    if found.layout.kind == "visual":
        return crop_axis, {**made, "crops": n_crops}
    if crop_axis is not None:
        raise UsageError(f"text is [snippets, dim], {next(iter(shapes))} has crops")
    return None, made


def _n_crops(found: FoundFiles, outcome: Outcome) -> int:
    """Return the number of crops, for layouts with one file per crop. Videos that lack a crop are
    added to the outcome as failed.
    """
    usual = max(max(crops) + 1 for crops in found.videos.values())
    for video, crops in found.videos.items():
        absent = sorted(set(range(usual)) - set(crops))
        if absent and video not in outcome.failed:
            listed = ", ".join(map(str, absent))
            error = VideoError(
                "unreadable",
                f"it lacks crop {listed} of {usual}",
                hint="if a list names some crops of it alone, name the folder without the list",
            )
            if found.layout.joins_dims:
                what, other = (STREAMS[k] for k in (absent[0], 1 - absent[0]))
                hint = f"--stream {other} takes the other one of all videos"
                error = VideoError("unreadable", f"it has no file _{what}.npy", hint=hint)
            outcome.failed[video] = error
    return 1 if found.layout.joins_dims else usual
