"""Captions made elsewhere: `file:PATH`.

    CSV           video,caption and one of: snippet | start_frame,end_frame | start_s,end_s
    JSON lines    {"Abuse028_x264": ["a man ...", ...]}, one caption a snippet: TEVAD's
    JSON          {"Abuse028_x264": {"duration": s, "timestamps": [[s, s], ...],
                  "sentences": [...]}}: UCA's, and that of other dense captioning sets

Timed captions are put on the grid by one rule. The text of a snippet consists of the sentences that
cover at least half of it, in the order in which they begin; if there are none, of those that
overlap it at all; if there are none, it is the text of the snippet before. Snippets before the
first sentence get the first sentence.
"""

from __future__ import annotations

import csv
import functools
import glob
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES, ClipGrid

from .captioner import clean

BYTES = 2**30  # of a file of captions, at most
HALF = 0.5  # of a snippet, for which a sentence must hold to be its caption


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and when it holds: [start, stop) in the unit of its video's captions."""

    start: float
    stop: float
    text: str


@dataclass
class VideoCaptions:
    """The captions of one video in a file."""

    unit: str  # "seconds", "frames" or "snippets"
    sentences: list[Sentence] = field(default_factory=list)
    duration_s: float | None = None
    one_each: bool = False  # a caption for every snippet, rather than sentences here and there


def files_of(pattern: str) -> list[Path]:
    """The files that a path or a glob (`'UCA_*.json'`) names; UsageError if there is none."""
    found = [Path(name) for name in sorted(glob.glob(pattern))]
    if not found and not Path(pattern).is_file():
        raise UsageError(f"no file of captions {pattern}")
    return found or [Path(pattern)]


def read_captions(paths: Iterable[Path]) -> dict[str, VideoCaptions]:
    """Captions by video, of several files together.

    Raises UsageError, with the video or the line, for a file that is of no known format and for a
    video that is captioned twice.
    """
    captions: dict[str, VideoCaptions] = {}
    for path in paths:
        if path.stat().st_size > BYTES:
            raise UsageError(f"{path} is larger than {BYTES} bytes: no file of captions")
        read = _read_csv if path.suffix.lower() == ".csv" else _read_json
        try:
            found = read(path)
        except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
            raise UsageError(f"{path} cannot be read as captions: {error}") from None
        if not found:
            raise UsageError(f"{path} captions no video")
        if twice := captions.keys() & found.keys():
            raise UsageError(f"{path} captions {min(twice)!r} a second time")
        captions |= found
    return captions


def _read_json(path: Path) -> dict[str, VideoCaptions]:
    found: dict[str, VideoCaptions] = {}
    for entry in _objects(path.read_text(encoding="utf-8-sig")):
        for video, value in entry.items():
            if video in found:
                raise UsageError(f"{path} captions {video!r} a second time")
            found[video] = _from_json(f"{path}, {video!r}", value)
    return found


def _objects(text: str) -> Iterable[Mapping[str, Any]]:
    """The objects of a JSON document, or of JSON lines."""
    try:
        found = [json.loads(text)]
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(entry, dict) for entry in found):
        raise UsageError("captions in JSON are objects: video -> captions")
    return found


def _from_json(where: str, value: Any) -> VideoCaptions:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        rows = [Sentence(i, i + 1, clean(text)) for i, text in enumerate(value)]
        return VideoCaptions("snippets", rows, one_each=True)
    try:
        texts, times = value["sentences"], value["timestamps"]
        if len(texts) != len(times):
            raise UsageError(f"{where} has {len(texts)} sentences and {len(times)} timestamps")
        found = [_sentence(where, a, b, text) for (a, b), text in zip(times, texts, strict=True)]
        return VideoCaptions("seconds", found, float(value["duration"]))
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"{where} is neither a list of captions nor duration, timestamps and sentences"
        ) from None


UNITS = {
    "snippets": ("snippet",),
    "frames": ("start_frame", "end_frame"),
    "seconds": ("start_s", "end_s"),
}


def _read_csv(path: Path) -> dict[str, VideoCaptions]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return _from_rows(path, csv.DictReader(file, restval="", strict=True))


def _from_rows(path: Path, rows: csv.DictReader[str]) -> dict[str, VideoCaptions]:
    columns = {name.strip() for name in rows.fieldnames or []}
    unit = next((u for u, needed in UNITS.items() if columns.issuperset(needed)), None)
    if unit is None or not columns.issuperset(("video", "caption")):
        raise UsageError(
            f"{path} has the columns {', '.join(sorted(columns)) or 'none'}",
            hint="a CSV of captions has video,caption and snippet or start_s,end_s or "
            "start_frame,end_frame",
        )
    rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
    captions: dict[str, VideoCaptions] = {}
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        start, stop = row[UNITS[unit][0]], row[UNITS[unit][-1]]
        if unit == "snippets" and start.strip().isdecimal():
            stop = str(int(start) + 1)
        video = captions.setdefault(row["video"].strip(), VideoCaptions(unit))
        video.sentences.append(_sentence(where, start, stop, row["caption"]))
    return captions


def _sentence(where: str, start: Any, stop: Any, text: Any) -> Sentence:
    try:
        sentence = Sentence(float(start), float(stop), clean(str(text)))
    except (TypeError, ValueError):
        raise UsageError(f"{where}: {start!r} to {stop!r} are no times") from None
    if not 0 <= sentence.start <= sentence.stop < float("inf"):
        raise UsageError(f"{where}: {start} to {stop} is no interval")
    return sentence


def on_grid(
    captions: VideoCaptions, times: NDArray[np.float64], duration_s: float, grid: ClipGrid
) -> list[str]:
    """A caption for every snippet, see above; empty where a file says nothing of the video.

    times [frames], when each frame is shown. Raises VideoError where a file has a caption for every
    snippet, but not as many as there are snippets.
    """
    n = grid.n_snippets(len(times))
    if captions.one_each:
        each = [sentence.text for sentence in captions.sentences]
        whole = -(-len(times) // CLIP_FRAMES)
        if len(each) not in (n, whole):
            raise VideoError("mismatch", f"{len(each)} captions are given for {n} snippets")
        return each[:n]
    if captions.unit == "seconds":
        edges = [grid.seconds(i, times, duration_s) for i in range(n)]
    elif captions.unit == "frames":
        edges = [grid.frames_of(i, len(times)) for i in range(n)]
    else:
        edges = [(i, i + 1) for i in range(n)]
    spoken = sorted(captions.sentences, key=lambda s: s.start)
    texts = [sentence.text for sentence in spoken]
    starts = np.array([sentence.start for sentence in spoken])
    stops = np.array([sentence.stop for sentence in spoken])
    rows: list[str] = []
    joined = functools.cache(lambda said: clean(" ".join(dict.fromkeys(texts[i] for i in said))))
    last: tuple[int, ...] = (0,) if spoken else ()
    for start, stop in edges:
        overlap = np.minimum(stops, stop) - np.maximum(starts, start)
        half = np.flatnonzero(overlap >= HALF * (stop - start))
        now = half if len(half) else np.flatnonzero((starts < stop) & (stops > start))
        last = tuple(now.tolist()) or last
        rows.append(joined(last))
    return rows
