"""Captions from files: `file:PATH`.

    CSV           video,caption and one of: snippet | start_frame,end_frame | start_s,end_s
    JSON lines    {"Abuse028_x264": ["a man ...", ...]}, one caption per snippet: TEVAD's
    JSON          {"Abuse028_x264": {"duration": s, "timestamps": [[s, s], ...],
                  "sentences": [...]}}: that of UCA and other dense captioning sets
    JSON          {"Abuse001_x264": {"n_frames": n, "fps": f, "clips": [[s, s], ...],
                  "clips_caption": [...]}}: that of HIVAU-70k; events may group the clips

Timed captions are assigned to snippets by one rule. The caption of a snippet joins the sentences
that cover at least half of the snippet, in the order of their start. If there are none, it joins
those that overlap the snippet at all. If there are none either, the snippet takes the caption of
the snippet before it. Snippets before the first sentence take the first sentence.
"""

from __future__ import annotations

import functools
import glob
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.grid import ClipGrid
from vad.names import check_name
from vad.tables import read_rows, read_text

from .captioner import clean

# Limits on all files together, so that reading them takes at most about a GB of memory. A caption
# for every snippet of XD-Violence makes 90 MB and 1.5 million sentences.
MAX_BYTES = 128 * 2**20
MAX_SENTENCES = 4_000_000
HALF = 0.5  # share of a snippet that a sentence must cover to be its caption


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and the interval [start, stop) that it describes, in the unit of
    `VideoCaptions`.
    """

    start: float
    stop: float
    text: str


@dataclass
class VideoCaptions:
    """The captions of one video, as read from a file."""

    unit: str  # "seconds", "frames" or "snippets"
    sentences: list[Sentence] = field(default_factory=list)
    duration_s: float | None = None
    one_each: bool = False  # one caption per snippet, not timed sentences


def files_of(pattern: str) -> list[Path]:
    """Return the files that a path or a glob (`'UCA_*.json'`) names. Raises UsageError if there is
    none.
    """
    found = [Path(name) for name in sorted(glob.glob(pattern))]
    if not found and not Path(pattern).is_file():
        raise UsageError(f"no file of captions {pattern}")
    return found or [Path(pattern)]


def read_captions(paths: Iterable[Path]) -> dict[str, VideoCaptions]:
    """Read caption files and return the captions of all of them by video.

    Raises UsageError, with the video or the line, if a file has no known format or a video is
    captioned twice.
    """
    captions: dict[str, VideoCaptions] = {}
    n_bytes = n_sentences = 0
    for path in paths:
        read = _read_csv if path.suffix.lower() == ".csv" else _read_json
        try:
            found = read(path, MAX_BYTES - n_bytes)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} cannot be read as captions: {error}") from None
        if not found:
            raise UsageError(f"{path} captions no video")
        if twice := captions.keys() & found.keys():
            raise UsageError(f"{path} captions {min(twice)!r} a second time")
        captions |= found
        n_bytes += path.stat().st_size
        n_sentences += sum(len(said.sentences) for said in found.values())
        _check_number(str(path), n_sentences)
    return captions


def _check_number(where: str, n: int) -> None:
    if n > MAX_SENTENCES:
        limit = f"at most {MAX_SENTENCES:,} are read"
        raise UsageError(f"{where}: {n:,} sentences are too many, {limit}")


def _read_json(path: Path, max_bytes: int) -> dict[str, VideoCaptions]:
    found: dict[str, VideoCaptions] = {}
    text = read_text(path, max_bytes)
    _check_number(str(path), max(map(text.count, "[{")))  # each takes memory as it is parsed
    for entry in _objects(text):
        for video, value in entry.items():
            check_name(video, str(path))
            if video in found:
                raise UsageError(f"{path} captions {video!r} a second time")
            found[video] = _from_json(f"{path}, {video!r}", value)
    return found


def _objects(text: str) -> Iterable[Mapping[str, object]]:
    """Return the objects of a JSON document or of JSON lines. Raises UsageError if they are no
    objects.
    """
    try:
        found = [json.loads(text)]
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(entry, dict) for entry in found):
        raise UsageError("captions in JSON are objects: video -> captions")
    return found


def _from_json(where: str, value: Any) -> VideoCaptions:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        _check_number(where, len(value))
        rows = [Sentence(i, i + 1, clean(text)) for i, text in enumerate(value)]
        return VideoCaptions("snippets", rows, one_each=True)
    try:
        if "clips_caption" in value:
            found = _of_clips(where, value["clips"], value["clips_caption"])
            return VideoCaptions("seconds", found, int(value["n_frames"]) / float(value["fps"]))
        texts, times = value["sentences"], value["timestamps"]
        if len(texts) != len(times):
            raise UsageError(f"{where} has {len(texts)} sentences and {len(times)} timestamps")
        found = [_sentence(where, a, b, text) for (a, b), text in zip(times, texts, strict=True)]
        duration_s = float(value["duration"])
        if not 0 <= duration_s < float("inf"):
            raise ValueError("duration")
        return VideoCaptions("seconds", found, duration_s)
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise UsageError(
            f"{where} is neither a list of captions nor duration, timestamps and sentences, nor "
            "n_frames, fps, clips and clips_caption"
        ) from None


def _of_clips(where: str, clips: Any, captions: Any) -> list[Sentence]:
    """Return the sentences of clips, which are pairs of seconds, or lists of such pairs."""
    if len(clips) != len(captions):
        raise UsageError(f"{where} has {len(clips)} clips and {len(captions)} captions of clips")
    found: list[Sentence] = []
    for clip, caption in zip(clips, captions, strict=True):
        if isinstance(caption, str):
            start, stop = clip
            found.append(_sentence(where, start, stop, caption))
        else:
            found += _of_clips(where, clip, caption)
    return found


UNITS = {
    "snippets": ("snippet",),
    "frames": ("start_frame", "end_frame"),
    "seconds": ("start_s", "end_s"),
}


def _read_csv(path: Path, max_bytes: int) -> dict[str, VideoCaptions]:
    captions: dict[str, VideoCaptions] = {}
    rows = read_rows(path, ("video", "caption"), max_bytes=max_bytes)
    for number, (where, row) in enumerate(rows, 1):
        _check_number(str(path), number)
        unit = next((u for u, needed in UNITS.items() if row.keys() >= {*needed}), None)
        if unit is None:
            raise UsageError(
                f"{path} has the columns {', '.join(sorted(row))}",
                hint="a CSV of captions has video,caption and snippet or start_s,end_s or "
                "start_frame,end_frame",
            )
        start, stop = row[UNITS[unit][0]], row[UNITS[unit][-1]]
        if unit == "snippets" and re.fullmatch("[0-9]{1,15}", start):
            stop = str(int(start) + 1)
        video = captions.setdefault(row["video"], VideoCaptions(unit))
        video.sentences.append(_sentence(where, start, stop, row["caption"]))
    return captions


def _sentence(where: str, start: Any, stop: Any, text: object) -> Sentence:
    try:
        sentence = Sentence(float(start), float(stop), clean(str(text)))
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{where}: {start!r} to {stop!r} are no times") from None
    if not 0 <= sentence.start <= sentence.stop < float("inf"):
        raise UsageError(f"{where}: {start} to {stop} is no interval")
    return sentence


def on_grid(
    captions: VideoCaptions, times: NDArray[np.float64], duration_s: float, grid: ClipGrid
) -> list[str]:
    """Return one caption per snippet, by the rule above; empty strings if the file has no
    sentence.

    times: [frames], when each frame is shown, in seconds. Raises VideoError if a file with one
    caption per snippet has another number of captions than the video has snippets.
    """
    n = grid.n_snippets(len(times))
    if captions.one_each:
        each = [sentence.text for sentence in captions.sentences]
        whole = ClipGrid(sampling=grid.sampling).n_snippets(len(times))
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
