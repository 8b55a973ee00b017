"""How imported rows lie on the clip grid: the frames and the tail of a video."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.grid import ClipGrid, Tail

from .layout import Layout


def read_frames(path: Path, videos: Iterable[str]) -> dict[str, int]:
    """Frames of videos, by id, from a CSV `video,frames`; a stem is enough.

    Raises UsageError for a file that is none, and where it names none of the videos.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            listed = {row["video"]: int(row["frames"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no CSV with the columns video,frames: {error!r}") from None
    named = {v: n for v in videos if (n := listed.get(v, listed.get(v.rpartition("/")[2])))}
    if not named:
        raise UsageError(f"{path} names none of the videos, which are called {next(iter(videos))}")
    return named


def fit(n_rows: int, n_snippets: int, layout: Layout) -> NDArray[np.int64]:
    """Rows for the snippets of a stored video.

    Text may have a row more or less than the stored features: a last one too many is cut, one
    missing repeats the last, as TEVAD does (its captions are ceil(n / 16), its features floor).
    """
    spare = 1 if layout.kind == "text" else 0
    if layout.n_segments == n_rows:
        return _spread(n_rows, n_snippets)
    if abs(n_rows - n_snippets) > spare:
        raise VideoError(
            "mismatch",
            f"it has {n_rows} snippets here, {n_snippets} in the store",
            hint="is it the same video? if so, import into another --store",
        )
    return np.minimum(np.arange(n_snippets), n_rows - 1)


def tail_of(n_rows: int, n_frames: int, layout: Layout) -> tuple[Tail, NDArray[np.int64]]:
    """The tail policy under which frames make so many snippets, and the row of every snippet."""
    kept, whole = (ClipGrid(tail).n_snippets(n_frames) for tail in ("repeat-last", "drop"))
    if n_rows == kept:
        return "repeat-last", np.arange(n_rows)
    if n_rows == whole:
        return "drop", np.arange(n_rows)
    if layout.n_segments == n_rows:
        return "repeat-last", _spread(n_rows, kept)
    raise VideoError(
        "mismatch",
        f"it has {n_rows} snippets, but {n_frames} frames make {kept}, or {whole} without the tail",
        hint="leave it out of the CSV of frames, and 16 frames a snippet are assumed",
    )


def _spread(n_segments: int, n_snippets: int) -> NDArray[np.int64]:
    """The segment of every snippet; edges are those that training makes segments with."""
    edges = np.linspace(0, n_snippets, n_segments + 1).astype(np.int64)
    return np.searchsorted(edges, np.arange(n_snippets), side="right") - 1
