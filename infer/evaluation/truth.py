"""The frame truth of an evaluation: built from annotations, or read from an array and checked.

Arrays of public repositories (`gt-ucf.npy`) have one number per frame, video after video in the
order of some list, often padded to whole clips of 16 frames. They do not contain the names of the
videos. So the array is cut in the order of the labels, and refused at the first video that
contradicts it: a normal video with anomalous frames, an abnormal video without any, or a video
whose frames are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.labels import Label, Segment, frame_truth
from vad.store import VideoRecord

Bools = NDArray[np.bool_]
N_NAMED = 3  # most videos named in a warning

log = logging.getLogger("vad")


@dataclass(frozen=True)
class Misfit:
    """The first video that contradicts an array, with the reason."""

    video: str
    why: str


def truth_of_segments(
    labels: Sequence[Label],
    records: Sequence[VideoRecord],
    segments: Sequence[Segment],
    where: str | Path,
) -> list[Bools]:
    """Return bool [frames] per video, True if anomalous, from annotations and stored records.

    Raises UsageError, with the name of the video, if its label and its segments disagree.
    """
    _tell_late_ends(records, labels, segments, where)
    truth = []
    for label, record in zip(labels, records, strict=True):
        one = frame_truth(label.video, record.n_frames, segments)
        if why := _contradiction(label, one):
            raise UsageError(f"{where}: {label.video!r} {why}")
        truth.append(one)
    return truth


def _tell_late_ends(
    records: Sequence[VideoRecord],
    labels: Sequence[Label],
    segments: Sequence[Segment],
    where: str | Path,
) -> None:
    n_frames = {label.video: r.n_frames for label, r in zip(labels, records, strict=True)}
    late = [
        f"{segment.video!r} (frame {segment.end_frame:,} of {n_frames[segment.video]:,})"
        for segment in segments
        if segment.end_frame > n_frames.get(segment.video, segment.end_frame)
    ]
    if late:
        shown = ", ".join(late[:N_NAMED]) + (", ..." if len(late) > N_NAMED else "")
        log.warning(
            "%s: %d segments end after the last frame, where they are cut: %s",
            *(where, len(late), shown),
        )


def truth_of_file(
    labels: Sequence[Label],
    records: Sequence[VideoRecord],
    path: str | Path,
    segments: Sequence[Segment] | None = None,
) -> list[Bools]:
    """Return bool [frames] per video, True if anomalous, from a file with one array for all videos.

    The array must have as many entries as the videos have frames, or as their clips reach, which
    is 16 times the snippets in the default sampling. If segments are given as well, both must
    agree, except at the ends of events, where conventions differ by a frame. Raises UsageError with
    the first video that disagrees, and with an order of the videos that would fit, if one of the
    usual orders does.
    """
    array = _read(Path(path))
    videos = list(zip(labels, records, strict=True))
    n_frames = sum(r.n_frames for r in records)
    n_padded = sum(map(_in_clips, records))
    in_clips = len(array) == n_padded != n_frames
    cut = _cut(array, videos, in_clips=in_clips, segments=segments)
    if not isinstance(cut, Misfit):
        return cut
    fits = (
        name
        for name, order in _orders(labels).items()
        if not isinstance(
            _cut(array, [videos[i] for i in order], in_clips=in_clips, segments=segments), Misfit
        )
    )
    if order := next(fits, None):
        hint = f"it fits the videos {order}: give them in that order with --labels CSV"
    else:
        hint = "build the truth from annotations: --segments CSV"
    raise UsageError(
        f"{path} is not the truth of these videos: {cut.video!r} {cut.why} (it has {len(array):,} "
        f"entries, the videos {n_frames:,} frames, {n_padded:,} in whole clips)",
        hint=hint,
    )


def _read(path: Path) -> Bools:
    if not path.is_file():
        raise UsageError(f"no file {path}")
    try:  # memory-mapped, so that a header with a false, huge shape takes no memory
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, OverflowError, EOFError) as error:
        raise UsageError(f"{path} is not a NumPy array: {error}") from None
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} holds several arrays", hint="give an .npy file")
    flat = np.squeeze(array)
    if flat.ndim != 1 or flat.dtype.kind not in "biuf" or not np.isin(flat, (0, 1)).all():
        raise UsageError(
            f"{path} has shape {list(array.shape)} and type {array.dtype}; "
            "one 0 or 1 for every frame is needed"
        )
    return np.asarray(flat, bool)


def _cut(
    array: Bools,
    videos: Sequence[tuple[Label, VideoRecord]],
    *,
    in_clips: bool,
    segments: Sequence[Segment] | None,
) -> list[Bools] | Misfit:
    truth: list[Bools] = []
    start = 0
    for label, record in videos:
        length = _in_clips(record) if in_clips else record.n_frames
        one = array[start : start + length]
        if len(one) < length:
            return Misfit(label.video, f"has {length:,} frames, but only {len(one):,} are left")
        if why := _contradiction(label, one):
            return Misfit(label.video, why)
        start += length
        # frames of a dropped tail get the value of the last frame
        tail = max(0, record.n_frames - length)
        one = np.pad(one[: record.n_frames], (0, tail), mode="edge")
        if segments is not None and (why := _disagreement(label, one, segments)):
            return Misfit(label.video, why)
        truth.append(one)
    if start < len(array):
        return Misfit(videos[-1][0].video, f"is the last, and {len(array) - start:,} more follow")
    return truth


def _in_clips(record: VideoRecord) -> int:
    return record.grid.end_of_clips(record.n_frames)


def _contradiction(label: Label, truth: Bools) -> str:
    """Return why this truth cannot be that of the video, or "" if it can."""
    if truth.any() and not label.label:
        return f"is labelled normal, but {int(truth.sum()):,} of its frames are anomalous"
    if label.label and not truth.any():
        return "is labelled abnormal, but none of its frames is anomalous"
    return ""


def _disagreement(label: Label, truth: Bools, segments: Sequence[Segment]) -> str:
    annotated = frame_truth(label.video, len(truth), segments)
    n_ends = 2 * sum(segment.video == label.video for segment in segments)
    n_other = int((annotated != truth).sum())
    return f"differs from its segments in {n_other:,} frames" if n_other > n_ends else ""


def _orders(labels: Sequence[Label]) -> dict[str, list[int]]:
    """Return the usual orders of videos in public lists, as indices by name of the order."""
    index = range(len(labels))
    return {
        "sorted by name": sorted(index, key=lambda i: labels[i].video),
        "abnormal ones first": sorted(index, key=lambda i: -labels[i].label),
        "abnormal ones first, sorted by name": sorted(
            index, key=lambda i: (-labels[i].label, labels[i].video)
        ),
    }
