"""The report: one HTML file of one video or many, for a person, with nothing to fetch.

Its player shows small copies of the videos that are inside the page, so that it plays what a
browser could not (AVI, MPEG-TS), wherever the page is taken. What does not fit `EMBEDDED_BYTES`
plays from its own file, as long as it stays where it is, or from a copy that is served beside the
page.

The page allows itself its own style and script, by their hashes, and data that it carries; a
browser refuses all else, whatever a name or a caption might try.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from vad.progress import Meter
from vad.version import VERSION

from .curves import Axis, axis_of, height_of, step_path, steps
from .events import Event
from .pages import hash_of, render, resource, write_page
from .scores import VideoScores, exact
from .times import timecode
from .video.copies import Copies, make_copies, peak_picture

EMBEDDED_BYTES = 48 * 2**20  # of copies in one page: half an hour to an hour of video
MOST_STEPS = 6000  # of a curve; more cannot be told apart, even magnified
SHORTEST_AROUND_S = 5.0  # of the curve that is shown before and after an event


def write_report(
    path: Path,
    videos: Sequence[VideoScores],
    *,
    copies: Sequence[Copies | None] | None = None,
    meter: Meter | None = None,
) -> None:
    """Write the page; videos come in the order of their highest scores.

    copies: what was copied of every video already; those of the others are made now, and `meter`
    moves by one for each. A video that cannot be read again has its curve and its events all the
    same.
    """
    made = copies or [None] * len(videos)
    order = sorted(zip(videos, made, strict=True), key=lambda pair: -pair[0].peak)
    ordered = [scores for scores, _ in order]
    style, script = resource("report.css"), resource("report.js")
    axis = axis_of(ordered)
    write_page(
        path,
        "report.html",
        policy=f"default-src 'none'; style-src '{hash_of(style)}'; script-src '{hash_of(script)}'; "
        "img-src data:; media-src blob: file: 'self'; base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        title=ordered[0].video if len(ordered) == 1 else f"{len(ordered)} videos",
        first=ordered[0],
        n_events=sum(len(scores.events) for scores in ordered),
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        overview=[Row(scores, axis) for scores in ordered] if len(ordered) > 1 else [],
        sections=_sections(order, path.parent, meter or Meter()),
    )


def in_notebook(scores: VideoScores) -> str:
    """The curve and the events of a video as HTML, for the output of a notebook."""
    return render("scores.html", scores=scores, curve=Row(scores, axis_of([scores])).curve)


def fitting(videos: Sequence[VideoScores], copies: Sequence[Copies | None]) -> list[Copies | None]:
    """The copies of videos without the MP4s that a page of all of them has no room for.

    Those of the highest scores come first.
    """
    fit, left_bytes = list(copies), EMBEDDED_BYTES
    held = [(i, made) for i, made in enumerate(copies) if made and made.preview]
    for index, made in sorted(held, key=lambda pair: -videos[pair[0]].peak):
        if len(made.preview) > left_bytes:
            fit[index] = replace(made, preview=b"")
        else:
            left_bytes -= len(made.preview)
    return fit


def _sections(
    order: Sequence[tuple[VideoScores, Copies | None]], folder: Path, meter: Meter
) -> Iterator[Section]:
    """The videos one after the other, so that the pictures of one only are in memory."""
    left_bytes = EMBEDDED_BYTES
    for scores, copies in order:
        if copies is None:
            copies = make_copies(scores, left_bytes, meter=meter)
            if scores.video_source:
                meter.advance(name=scores.video)
        if len(copies.preview) > left_bytes:
            copies = replace(copies, preview=b"")
        left_bytes -= len(copies.preview)
        yield Section(scores, axis_of([scores]), copies, _address(scores, copies, folder))


def _address(scores: VideoScores, copies: Copies, folder: Path) -> str:
    """The address of a video that is not inside the page: its copy, or itself."""
    if copies.address or copies.preview or not copies.readable or scores.video_source is None:
        return copies.address
    file = scores.video_source.path.resolve()
    try:
        relative = os.path.relpath(file, folder.resolve())
    except ValueError:  # another drive
        return file.as_uri()
    return quote(Path(relative).as_posix())


@dataclass(frozen=True)
class Curve:
    """The curve of scores as SVG, 1000 wide and 100 high."""

    path: str
    limit: float  # where the threshold is, from the top
    events: list[tuple[float, float]]  # where they begin, and their widths


@dataclass(frozen=True)
class Row:
    """A video in the overview of several."""

    scores: VideoScores
    axis: Axis

    @property
    def curve(self) -> Curve:
        """Its curve on its axis."""
        scores, end_s = self.scores, max(self.scores.record.duration_s, 1e-6)
        starts, values = steps(scores.frames, MOST_STEPS)
        x = np.append(scores.times[starts], end_s) / end_s * 1000
        x[0] = 0  # the first picture may be shown a little after the video begins
        y = 100 - 100 * np.array([height_of(value, self.axis) for value in values])
        widths = [max(0.5, (e.end_s - e.start_s) / end_s * 1000) for e in scores.events]
        begins = [e.start_s / end_s * 1000 for e in scores.events]
        limit = 100 - 100 * height_of(scores.threshold, self.axis)
        return Curve(step_path(x, y), limit, list(zip(begins, widths, strict=True)))


@dataclass(frozen=True)
class Section(Row):
    """All that the page shows of one video."""

    copies: Copies
    address: str  # what the player plays where the copy is not inside the page

    @property
    def length(self) -> str:
        """Hours, minutes, seconds."""
        return timecode(self.scores.record.duration_s)[:-4]

    def around(self, event: Event) -> tuple[float, float]:
        """The part of the video that is shown around an event, as shares of its duration."""
        duration_s = self.scores.record.duration_s
        around_s = max(SHORTEST_AROUND_S, event.duration_s)
        start_s, end_s = max(0.0, event.start_s - around_s), min(duration_s, event.end_s + around_s)
        return start_s / max(duration_s, 1e-6), end_s / max(duration_s, 1e-6)

    @property
    def how(self) -> dict[str, object]:
        """How the scores came to be; nested settings are nested mappings."""
        scores, record = self.scores, self.scores.record
        rule, how = scores.rule, scores.propagation
        low = "" if rule.low is None else f", going on from {rule.low:g}"
        return {
            "video": f"{record.source} ({record.source_bytes:,} bytes)",
            "sha256": record.source_sha256,
            "decoded": f"{record.n_frames} frames of {record.codec} in {record.container}, "
            f"by {record.decoder}",
            "threshold": f"{scores.threshold:.6g}, "
            + ("that of the run" if scores.threshold_from == "run" else "given"),
            "events": f"at least {rule.min_event:g} s, joined over {rule.merge_gap:g} s, padded "
            f"{rule.pad_before:g} s before and {rule.pad_after:g} s after{low}",
            "frames": how.propagation
            + (f", {how.sigma:g} s" if how.propagation == "gaussian" else ""),
            **{str(name): value for name, value in scores.provenance.items()},
            "vad": VERSION,
        }

    @property
    def data(self) -> dict[str, object]:
        """The numbers that the script of the page works with."""
        scores = self.scores
        starts, values = steps(scores.frames, MOST_STEPS)
        return {
            "duration": scores.record.duration_s,
            "fps": scores.record.fps,
            "threshold": scores.threshold,
            "starts": [round(float(s), 6) for s in scores.times[starts]],
            "scores": [exact(v) for v in values],
            "limit": height_of(scores.threshold, self.axis),
            "peak": float(scores.times[peak_picture(scores)]),
            "events": [
                {"start": e.start_s, "end": e.end_s, "caption": e.caption} for e in scores.events
            ],
        }
