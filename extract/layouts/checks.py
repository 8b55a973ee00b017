"""Checks before features are imported: shapes of files, lengths of videos, and labels.

An array is [snippets, dim], [snippets, crops, dim] or [crops, snippets, dim]. All videos of a set
have the same number of crops (1, 5 or 10), but different numbers of snippets. So the axis of the
crops is the one whose length is the same in all files. One file alone can be ambiguous: [10, 10,
2048] and [5, 10, 2048] can be read either way, and then the user must name the axes.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES, TEXT_ROWS_APART, ClipGrid, Tail, segment_edges
from vad.labels import read_labels
from vad.names import stem_of
from vad.tables import read_rows

from .layout import Layout

Shape = tuple[int, ...]
CROP_AXIS: dict[str, int] = {"snippets-crops": 1, "crops-snippets": 0}
CROP_COUNTS = (1, 5, 10)
UCF_CRIME = re.compile(r"(Normal_Videos_?|[A-Z][A-Za-z]+)\d+_x264")
XD_VIOLENCE = re.compile(r".+_label_([A-Z0-9-]+)")

log = logging.getLogger("vad")


def common_shape(shapes: Mapping[str, Shape], axes: str = "auto") -> tuple[int | None, int, int]:
    """Return the axis of the crops (None if arrays have 2 dimensions), the number of crops, and
    dim.

    shapes: by file name. Raises UsageError that names a file which differs from the others, or
    `--axes` if the shapes are ambiguous.
    """
    if axes not in ("auto", *CROP_AXIS):
        raise UsageError(f"axes are auto, {' or '.join(CROP_AXIS)}, not {axes!r}")
    n_axes = _same("number of axes", {name: len(shape) for name, shape in shapes.items()})
    widths = {name: shape[-1] for name, shape in shapes.items()}
    dim = _same(
        "width", widths, "; if the first axis is the width, save the arrays with the width last"
    )
    if n_axes == 2:
        return None, 1, dim
    tried = list(CROP_AXIS.values()) if axes == "auto" else [CROP_AXIS[axes]]
    fitting = [axis for axis in tried if _crops(shapes, axis)]
    if len(fitting) == 2 and any(shape[:2] != (1, 1) for shape in shapes.values()):
        name, shape = next(iter(shapes.items()))
        raise UsageError(
            f"{name} is {list(shape)}: either axis could be that of the crops",
            hint=f"--axes {' or --axes '.join(CROP_AXIS)}",
        )
    if not fitting:  # report the axis on which most files agree
        axis = max(tried, key=lambda a: max(Counter(s[a] for s in shapes.values()).values()))
        n_crops = _same("number of crops", {name: shape[axis] for name, shape in shapes.items()})
        raise UsageError(
            f"{next(iter(shapes))} is {list(next(iter(shapes.values())))}: {n_crops} crops on axis "
            f"{axis}, where there are 1, 5 or 10",
            hint=f"--axes {' or --axes '.join(CROP_AXIS)}",
        )
    return fitting[0], next(iter(shapes.values()))[fitting[0]], dim


def _crops(shapes: Mapping[str, Shape], axis: int) -> int | None:
    """Return the number of crops if `axis` can be the axis of the crops, else None."""
    counts = {shape[axis] for shape in shapes.values()}
    return next(iter(counts)) if len(counts) == 1 and counts <= set(CROP_COUNTS) else None


def _same(what: str, values: Mapping[str, int], hint: str = "") -> int:
    """Return the value that all files share. Raises UsageError that names the first file which
    differs; hint: what else one can do.
    """
    (usual, n), *others = Counter(values.values()).most_common()
    if others:
        odd = next(name for name, value in values.items() if value != usual)
        like = next(name for name, value in values.items() if value == usual)
        raise UsageError(
            f"the {what} of {odd} is {values[odd]}, that of {n} of {len(values)} files, such as "
            f"{like}, is {usual}",
            hint=f"import the two sets into stores of their own{hint}",
        )
    return usual


def read_frames(path: Path, videos: Iterable[str]) -> dict[str, int]:
    """Read the number of frames of videos, by id, from a CSV `video,frames`; the last part of the
    id is enough as name.

    Raises UsageError if the file cannot be read as such a CSV, or names none of the videos.
    """
    listed: dict[str, int] = {}
    for where, row in read_rows(path, ("video", "frames")):
        if not row["frames"].isdecimal():
            raise UsageError(f"{where}: frames is {row['frames']!r}, not a whole number")
        listed[row["video"]] = int(row["frames"])
    named = {v: n for v in videos if (n := listed.get(v, listed.get(stem_of(v))))}
    if not named:
        raise UsageError(f"{path} names none of the videos, which are called {next(iter(videos))}")
    return named


def fit(n_rows: int, n_snippets: int, layout: Layout) -> NDArray[np.int64]:
    """Return the rows of the features that are stored for a stored video: row numbers [rows].

    Text may have a few rows more or less than the video has snippets, and keeps its own rows:
    training pools them by themselves, scoring cuts or fills them (`vad.grid.align_text`). Raises
    VideoError for any other difference.
    """
    if layout.n_segments == n_rows:
        return _spread(n_rows, n_snippets)
    if n_rows != n_snippets and not _is_near(n_rows, n_snippets, layout):
        raise VideoError(
            "mismatch",
            f"it has {n_rows} snippets here, {n_snippets} in the store",
            hint="is it the same video? if so, import into another --store, visual features first",
        )
    return np.arange(n_rows)


def _is_near(n_rows: int, n_snippets: int, layout: Layout) -> bool:
    """Return True if text of this many rows can belong to a video of this many snippets."""
    apart = abs(n_rows - n_snippets)
    return layout.kind == "text" and apart <= min(TEXT_ROWS_APART, n_rows)


def tail_of(n_rows: int, n_frames: int, layout: Layout) -> tuple[Tail, NDArray[np.int64]]:
    """Return the tail policy under which `n_frames` frames have `n_rows` snippets, and the row
    number of each snippet, [snippets].

    Raises VideoError if there is no such policy.
    """
    kept, whole = (ClipGrid(tail).n_snippets(n_frames) for tail in ("repeat-last", "drop"))
    if n_rows == kept:
        return "repeat-last", np.arange(n_rows)
    if n_rows == whole:
        return "drop", np.arange(n_rows)
    if layout.n_segments == n_rows:
        return "repeat-last", _spread(n_rows, kept)
    if _is_near(n_rows, kept, layout):
        return "repeat-last", np.arange(n_rows)
    if n_frames % CLIP_FRAMES == 0 and n_rows == kept - 1:
        # Some published extractors stop before the last whole clip, at (frames - 1) // 16.
        return "repeat-last", np.minimum(np.arange(kept), n_rows - 1)
    raise VideoError(
        "mismatch",
        f"it has {n_rows} snippets, but {n_frames} frames make {kept}, or {whole} without the tail",
        hint="leave it out of the CSV of frames, and 16 frames a snippet are assumed",
    )


def _spread(n_segments: int, n_snippets: int) -> NDArray[np.int64]:
    """Return the segment of each snippet, [snippets]; segments have the same edges as in
    training. With fewer snippets than segments, return [snippets] of the snippets themselves: no
    segment is to be lost, so the importer takes means (`arrays.segment_means`).
    """
    if n_snippets < n_segments:
        return np.arange(n_snippets)
    edges = segment_edges(n_snippets, n_segments)
    return np.searchsorted(edges, np.arange(n_snippets), side="right") - 1


def check_labels(path: Path, videos: Iterable[str]) -> None:
    """Compare a labels file with the labels that video names contain. Raises UsageError if they
    contradict each other.
    """
    labels = {stem_of(label.video): label.label for label in read_labels(path)}
    stems = [stem_of(video) for video in videos]
    for stem in stems:
        told = label_in(stem)
        if told is not None and stem in labels and labels[stem] != told:
            raise UsageError(
                f"{path} labels {stem!r} {labels[stem]}, its name says {told}",
                hint="lists of others are labels by position: is the order that of the labels?",
            )
    unlabelled = [stem for stem in stems if stem not in labels]
    if unlabelled:
        log.warning("%s: %d videos have no label: %s ...", path, len(unlabelled), unlabelled[0])


def label_in(stem: str) -> int | None:
    """Return the label (1: abnormal) that a video name of UCF-Crime or XD-Violence contains; None
    for other names.
    """
    if found := XD_VIOLENCE.fullmatch(stem):
        return int(found[1] != "A")
    if found := UCF_CRIME.fullmatch(stem):
        return int(not found[1].startswith("Normal"))
    return None
