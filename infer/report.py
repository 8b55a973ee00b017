"""The report: one HTML page about one or more videos, with player, curves and events.

The page needs no other files. Its player shows small MP4 copies of the videos, which are stored
inside the page, so that formats such as AVI and MPEG-TS play in a browser as well. Copies beyond
`EMBEDDED_BYTES` in total are left out; these videos play from their own files, as long as they are
not moved, or from a copy that is served beside the page.

By its content security policy, the page only runs its own style and script, which are known by
hashes, and loads media that it contains or that are files beside it. A name or a caption cannot add
anything.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from math import floor, inf
from pathlib import Path
from urllib.parse import quote

import numpy as np

from vad.stages.train.card import PAGE
from vad.stages.train.heldout import NormalFootage
from vad.tables import cell
from vad.terminal import Meter
from vad.version import VERSION

from .curves import step_path, steps
from .events import Event, edges_us, low_of
from .pages import hash_of, render, resource, write_page
from .scores import VideoScores, exact, kinds_dict
from .settings import EventRule
from .times import timecode
from .video.copies import Copies, make_copies, peak_picture

EMBEDDED_BYTES = 48 * 2**20  # total size of the copies in a page: half an hour to an hour of video
MOST_STEPS = 6000  # of a curve; more cannot be seen, even magnified
SHORTEST_AROUND_S = 5.0  # shortest part of the curve shown before and after an event


def write_report(
    path: Path,
    videos: Sequence[VideoScores],
    *,
    copies: Sequence[Copies | None] | None = None,
    meter: Meter | None = None,
) -> None:
    """Write the HTML report of the videos, the video with the highest score first.

    copies: for each video the preview MP4, poster and thumbnails that the report shows; if it is
    None, they are made now, and `meter` advances by one video. A video that cannot be read again
    has only its curve and events in the report.
    """
    made = copies or [None] * len(videos)
    order = sorted(zip(videos, made, strict=True), key=lambda pair: -pair[0].peak)
    ordered = [scores for scores, _ in order]
    style = resource("page.css") + "\n" + resource("report.css")
    script = resource("events.js") + "\n" + resource("report.js")
    write_page(
        path,
        "report.html",
        policy=f"default-src 'none'; style-src '{hash_of(style)}'; script-src '{hash_of(script)}'; "
        "img-src data:; media-src blob: file: 'self'; base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        title=ordered[0].video if len(ordered) == 1 else f"{len(ordered)} videos",
        first=ordered[0],
        about=_about(ordered[0], path.parent),
        limit=_limit(ordered),
        n_events=sum(len(scores.events) for scores in ordered),
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        overview=[Row(scores) for scores in ordered] if len(ordered) > 1 else [],
        # a generator: each video is decoded and shown while the page is written
        sections=_sections(order, path.parent, meter or Meter()),
    )


def in_notebook(scores: VideoScores) -> str:
    """Return the curve and the events of a video as HTML, for the output of a notebook."""
    return render("scores.html", scores=scores, curve=Row(scores).curve)


def fitting(videos: Sequence[VideoScores], copies: Sequence[Copies | None]) -> list[Copies | None]:
    """Return the copies, without the MP4s that do not fit into a page of all the videos.

    Videos with higher scores keep theirs first.
    """
    fit, left_bytes = list(copies), EMBEDDED_BYTES
    held = [(i, made) for i, made in enumerate(copies) if made and made.preview]
    for index, made in sorted(held, key=lambda pair: -videos[pair[0]].peak):
        if len(made.preview) > left_bytes:
            fit[index] = replace(made, preview=b"")
        else:
            left_bytes -= len(made.preview)
    return fit


def _limit(videos: Sequence[VideoScores]) -> str:
    """Return the threshold of the videos as text; if they have several, the lowest and highest."""
    low, *_, high = sorted(f"{scores.threshold:.3f}" for scores in [videos[0], *videos])
    return low if low == high else f"{low} to {high}"


def _about(scores: VideoScores, folder: Path) -> str:
    """Return the address of the page of the run from a page in `folder`; "" if it is not there."""
    page = Path(str(scores.provenance.get("run", ""))) / PAGE
    return _from(folder, page) if page.is_file() else ""


def _readings(footage: NormalFootage | None) -> dict[str, list[float] | list[str]]:
    """Return how often normal footage reaches a score, in words, for the script of the page.

    `words` has the text for scores from each of `levels` on, then that for scores above the last
    level. Both are empty if the run does not know.
    """
    if footage is None:
        return {"levels": [], "words": []}
    by_words: dict[str, float] = {}  # the lowest level for each text
    for level in footage.levels:
        by_words.setdefault(footage.in_words(level), level)
    last = footage.levels[-1]  # scores above it have another text than the last level itself
    return {
        "levels": [*by_words.values(), last],
        "words": [*by_words, footage.in_words(last), footage.in_words(inf)],
    }


def _sections(
    order: Sequence[tuple[VideoScores, Copies | None]], folder: Path, meter: Meter
) -> Iterator[Section]:
    """Yield the sections of the videos one by one, so that only one video's pictures are in
    memory.
    """
    left_bytes = EMBEDDED_BYTES
    for scores, copies in order:
        if copies is None:
            copies = make_copies(scores, left_bytes, meter=meter)
            if scores.video_source:
                meter.advance(name=scores.video)
        if len(copies.preview) > left_bytes:
            copies = replace(copies, preview=b"")
        left_bytes -= len(copies.preview)
        yield Section(scores, copies, _address(scores, copies, folder))


def _address(scores: VideoScores, copies: Copies, folder: Path) -> str:
    """Return the address that the player uses: of a copy beside the page, or of the video file.

    It is empty if the copy is in the page, or if the video cannot be played.
    """
    if copies.address or copies.preview or not copies.readable or scores.video_source is None:
        return copies.address
    return _from(folder, scores.video_source.path)


def _from(folder: Path, file: Path) -> str:
    """Return the address of a file for a page in a folder."""
    file = file.resolve()
    try:
        relative = os.path.relpath(file, folder.resolve())
    except ValueError:  # the page and the file are on different drives
        return file.as_uri()
    return quote(Path(relative).as_posix())


@dataclass(frozen=True)
class Curve:
    """A score curve as SVG, 1000 units wide and 100 high."""

    path: str
    limit: float  # y of the threshold, from the top
    events: list[tuple[float, float]]  # x and width of every event


@dataclass(frozen=True)
class Row:
    """A video in the overview of several videos."""

    scores: VideoScores

    @property
    def curve(self) -> Curve:
        """Return the curve of the video."""
        scores, end_s = self.scores, max(self.scores.record.duration_s, 1e-6)
        starts, values = steps(scores.frames, MOST_STEPS)
        x = np.append(scores.times[starts], end_s) / end_s * 1000
        x[0] = 0  # the first frame may be shown a little after the start of the video
        y = 100 - 100 * values
        widths = [max(0.5, (e.end_s - e.start_s) / end_s * 1000) for e in scores.events]
        begins = [e.start_s / end_s * 1000 for e in scores.events]
        limit = 100 - 100 * scores.threshold
        return Curve(step_path(x, y), limit, list(zip(begins, widths, strict=True)))


@dataclass(frozen=True)
class Section(Row):
    """Everything that the page shows of one video."""

    copies: Copies
    address: str  # what the player plays if the page contains no copy; may be empty

    @property
    def length(self) -> str:
        """Return the duration as `hours:minutes:seconds`."""
        return timecode(self.scores.record.duration_s)[:-4]

    def around(self, event: Event) -> tuple[float, float]:
        """Return the part of the video shown around an event, as start and end in shares of the
        duration.
        """
        duration_s = self.scores.record.duration_s
        around_s = max(SHORTEST_AROUND_S, event.duration_s)
        start_s, end_s = max(0.0, event.start_s - around_s), min(duration_s, event.end_s + around_s)
        return start_s / max(duration_s, 1e-6), end_s / max(duration_s, 1e-6)

    @property
    def lower(self) -> float:
        """Return a threshold that the highest score reaches, with three decimals if possible."""
        return floor(1000 * self.scores.peak) / 1000 or exact(self.scores.peak)

    @property
    def how(self) -> dict[str, object]:
        """Return how the scores were computed, by name; nested settings are nested mappings."""
        scores, record = self.scores, self.scores.record
        rule, how = scores.rule, scores.propagation
        low = low_of(rule, scores.threshold, scores.prior)
        return {
            "video": f"{record.source} ({record.source_bytes:,} bytes)",
            "sha256": record.source_sha256,
            "decoded": f"{record.n_frames} frames of {record.codec} in {record.container}, "
            f"by {record.decoder}",
            "scores": scores.meaning,
            "threshold": f"{scores.threshold:.6g}, "
            + ("that of the run" if scores.threshold_from == "run" else scores.threshold_from),
            "assumed": f"{scores.prior:.3g} of the footage is anomalous" if scores.prior else "",
            "events": f"at least {rule.min_event:g} s, joined over {rule.merge_gap:g} s, padded "
            f"{rule.pad_before:g} s before and {rule.pad_after:g} s after; each lasts "
            f"while scores reach {low:.3g}",
            "explained": f"by sentences that {scores.explained.captioner} generated; they can be "
            "wrong"
            if scores.explained
            else "",
            "frames": how.propagation
            + (f", {how.sigma:g} s" if how.propagation == "gaussian" else ""),
            **{str(name): value for name, value in scores.provenance.items()},
            "vad": VERSION,
        }

    @property
    def data(self) -> dict[str, object]:
        """Return the values that the script of the page uses.

        Scores are those of the frames in `starts` and of all frames up to the next of these.
        `edges` has the time of the first frame and the duration of every frame, in microseconds;
        `first_frames` the first frame that belongs to each snippet.
        """
        scores = self.scores
        starts, values = steps(scores.frames, len(scores.frames))
        edges = edges_us(scores.times, scores.record.duration_s)
        return {
            "video": cell(scores.video),
            "duration": scores.record.duration_s,
            "fps": scores.record.fps,
            "first_frames": _first_frames(scores),
            "shortest_around": SHORTEST_AROUND_S,
            "threshold": scores.threshold,
            "prior": scores.prior,
            "rule": {f.name: getattr(scores.rule, f.name) for f in fields(EventRule)},
            "peak": float(scores.times[peak_picture(scores)]),
            "starts": starts.tolist(),
            "scores": [exact(v) for v in values],
            "edges": np.diff(edges, prepend=0).tolist(),
            "captions": list(scores.captions),
            "readings": _readings(scores.normal_footage),
            "kinds": scores.kinds and kinds_dict(scores.kinds),
            "where": scores.where and _tints(scores),
            "explained": [asdict(told) for told in scores.explained.events]
            if scores.explained
            else [],
        }


def _first_frames(scores: VideoScores) -> list[int]:
    """Return the first frame that belongs to each snippet, in order; see
    `ClipGrid.snippet_of_frames`.
    """
    snippets = np.arange(len(scores.snippets))
    first: list[int] = np.searchsorted(scores.snippet_of_frames, snippets).tolist()
    return first


def _tints(scores: VideoScores) -> dict[str, object]:
    """Return how strongly the page tints the cells of each snippet, and the part of the picture
    that the cells divide, in shares of its width and height. A tint is a byte, in base64.
    """
    assert scores.where is not None
    tints = (255 * scores.where.tints()).round().astype(np.uint8)
    _, rows, columns = tints.shape
    left, top, right, bottom = scores.where.view
    width, height = scores.record.width, scores.record.height
    return {
        "view": [left / width, top / height, right / width, bottom / height],
        "rows": rows,
        "columns": columns,
        "tints": b64encode(tints.tobytes()).decode(),
    }
