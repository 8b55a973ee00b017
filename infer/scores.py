"""The scores of a video: snippet scores of the detector, frame scores, and events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vad.errors import InternalError, UsageError, VideoError
from vad.grid import CLIP_FRAMES
from vad.stages.train.heldout import NormalFootage
from vad.stages.train.kinds import Kinds
from vad.stages.train.rates import GUESS, FrameRates, known_rate, known_videos
from vad.store import VideoRecord, key_of
from vad.terminal import plain
from vad.version import VERSION

from .events import Event, find_events, propagate
from .explained import Explained
from .settings import EventRule, Propagation
from .times import timecode
from .video.source import VideoSource, Viewer, watch
from .where import BOX, Box, Where, box_dict

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA = "vad.scores/1"
EVENT_COLUMNS = (
    *("start_frame", "end_frame", "start_s", "end_s", "start_timecode", "end_timecode"),
    *("peak", "peak_frame", "peak_s", "mean", "reading", "kind", "kind_share", "caption"),
    *BOX,
)
UNFAMILIAR = 0.05  # a video of this familiarity or less is called unlike the training videos
N_SHOWN = 5  # most events that `repr` lists


@dataclass(frozen=True, eq=False, repr=False)
class VideoScores:
    """The scores of one video. Printing it lists the events; a notebook shows the curve as well.

    snippets [snippets] and `frames` [frames] are in [0, 1], higher is more anomalous; times
    [frames] are presentation times in seconds from the first frame. `frames` and `events` are
    computed on first use. To apply another threshold or rule, use `dataclasses.replace`.
    """

    video: str
    record: VideoRecord
    snippets: NDArray[np.float32]
    times: NDArray[np.float64]
    threshold: float  # a frame is flagged if its score is at least this
    detector: str  # name of the run that scored the video, or "novelty"
    # where the threshold comes from: "run": chosen when the run was trained; "given": by the user;
    # or what it was to reach, such as "false alarms 2/h"
    threshold_from: str = "run"
    prior: float | None = None  # assumed share of anomalous footage; None: scores are no chances
    normal_footage: NormalFootage | None = None  # how often held-out normal footage reaches a score
    # share of the training videos that are at least as far from the others as this video: 0 if it
    # is farther than all; None: not known
    familiarity: float | None = None
    training_fps: FrameRates | None = None  # frame rates of the training videos; None: not known
    camera: str = ""  # camera that the run is calibrated for, whose footage then is what is normal
    propagation: Propagation = field(default_factory=Propagation)
    rule: EventRule = field(default_factory=EventRule)
    # what the scores are if no run made them, such as novelty within the video; said on all outputs
    meaning: str = ""
    doubt: str = ""  # why such scores say nothing about this video; empty if they do
    captions: Sequence[str] = ()  # one per snippet; empty if there are no captions
    where: Where | None = None  # where scores come from; None if the features do not tell
    kinds: Kinds | None = None  # kinds of anomaly; None if the run does not tell them
    explained: Explained | None = None  # what a captioner says of the events; see `vad explain`
    # origin of the run and its features
    provenance: Mapping[str, object] = field(default_factory=dict)
    video_source: VideoSource | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = self.record.grid.n_snippets(self.record.n_frames)
        if len(self.snippets) != n or len(self.times) != self.record.n_frames:
            raise InternalError(
                f"{self.video}: {len(self.snippets)} scores and {len(self.times)} times for "
                f"{self.record.n_frames} frames in {n} snippets"
            )
        if len(self.captions) not in (0, n):
            raise InternalError(f"{self.video}: {len(self.captions)} captions, {n} snippets")
        if self.where is not None and len(self.where.shares) != n:
            raise InternalError(f"{self.video}: {len(self.where.shares)} places, {n} snippets")
        if self.kinds is not None and len(self.kinds.shares) != n:
            raise InternalError(f"{self.video}: {len(self.kinds.shares)} kinds, {n} snippets")

    @cached_property
    def frames(self) -> NDArray[np.float32]:
        """Return the score of every frame of the video, float32 [frames] in [0, 1]."""
        record = self.record
        return propagate(
            self.snippets, record.n_frames, self.propagation, grid=record.grid, fps=record.fps
        )

    @cached_property
    def events(self) -> list[Event]:
        """Return the events by threshold and rule, each with its kind, and the caption and the
        box at its peak.
        """
        found = find_events(
            self.frames,
            self.times,
            self.record.duration_s,
            threshold=self.threshold,
            prior=self.prior,
            rule=self.rule,
        )
        return [
            dataclasses.replace(
                e,
                caption=self.caption_at(e.peak_frame),
                reading=self.reading_of(e.peak),
                box=self.box_at(e.peak_frame),
                **self._kind_of(e),
            )
            for e in found
        ]

    def _kind_of(self, event: Event) -> dict[str, Any]:
        """Return the fields of an event that tell its kind; empty if the scores have no kinds."""
        if self.kinds is None:
            return {}
        last = self.snippet_at(event.end_frame - 1)
        kind, share = self.kinds.of(self.snippet_at(event.start_frame), last + 1)
        return {"kind": kind, "kind_share": round(share, 4)}

    def reading_of(self, score: float) -> str:
        """Say how often held-out normal footage reaches a score; "" if the run does not know."""
        return self.normal_footage.in_words(score) if self.normal_footage else ""

    def __repr__(self) -> str:
        lines = [self.summary]
        for number, event in enumerate(self.events[:N_SHOWN], start=1):
            when = f"{timecode(event.start_s)} to {timecode(event.end_s)}"
            words = [when, f"peak {event.peak:.3f}", event.reading, plain(event.kind_words)]
            words.append(plain(event.caption))
            lines.append("  ".join(["", str(number), *filter(None, words)]))
        if (n_more := len(self.events) - N_SHOWN) > 0:
            lines.append(f"  and {n_more} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return cast("str", import_module(".report", __package__).in_notebook(self))

    @property
    def summary(self) -> str:
        """Return one line with the number of events, the highest score and its time."""
        n = len(self.events)
        prior = "" if self.prior is None else f", prior {self.prior:g}"
        reading = self.reading_of(self.peak)
        said = filter(None, [self.too_short, reading, self.warning, self.meaning])
        return (
            f"{plain(self.video)}: {n or 'no'} event{'s' * (n != 1)}, "
            f"highest {self.peak:.3f} at {timecode(self.peak_s)} "
            f"(threshold {self.threshold:.3f}{prior})" + "".join(f"; {words}" for words in said)
        )

    @property
    def too_short(self) -> str:
        """Say why no event results although the threshold is reached; "" if it is not, or if one
        does.
        """
        if self.events or self.peak < self.threshold:
            return ""
        return f"reaches the threshold, but never for {self.rule.min_event:g} s (--min-event)"

    @property
    def warning(self) -> str:
        """Say why the scores of this video deserve little belief; "" if nothing speaks against
        them.
        """
        if self.doubt:
            return self.doubt
        is_unlike = self.familiarity is not None and self.familiarity <= UNFAMILIAR
        unlike = f"unlike {known_videos(self.camera)}" if is_unlike else ""
        said = " and ".join(filter(None, [unlike, self.other_rate]))
        return f"{said}: {GUESS}" if said else ""

    @property
    def other_rate(self) -> str:
        """Say that the frame rate of this video is far from that of the training videos; "" if it
        is not, or if one of them is not known.
        """
        if self.training_fps is None:
            return ""
        return self.training_fps.differing(known_rate(self.record), self.camera)

    @property
    def peak(self) -> float:
        """Return the highest frame score, which is the score of the video."""
        return float(self.frames.max())

    @property
    def peak_s(self) -> float:
        """Return the time in seconds of the first frame with the highest score."""
        return float(self.times[int(self.frames.argmax())])

    def caption_at(self, frame: int) -> str:
        """Return the caption of the snippet that contains a frame; empty if there are no
        captions.
        """
        if not self.captions:
            return ""
        return self.captions[self.snippet_at(frame)]

    def box_at(self, frame: int) -> Box | None:
        """Return the box of what raises the score of a frame, in pixels of the video as shown.

        Returns None if nothing does, or if the features do not tell where.
        """
        return self.where.box(self.snippet_at(frame)) if self.where else None

    def snippet_at(self, frame: int) -> int:
        """Return the snippet that a frame belongs to; of several, that with the nearest middle."""
        return int(self.snippet_of_frames[frame])

    @cached_property
    def snippet_of_frames(self) -> NDArray[np.int64]:
        """Return the snippet that every frame belongs to, [frames]."""
        return self.record.grid.snippet_of_frames(self.record.n_frames)

    def watch(self, viewers: Sequence[Viewer]) -> None:
        """Decode the video once and pass its frames, uint8 [height, width, 3], to all viewers.

        Raises VideoError if the file is missing, cannot be read, or has changed since it was
        scored.
        """
        if self.video_source is None:
            raise VideoError("unreadable", f"{self.record.source} is not there as it was")
        watch(self.video_source, viewers, times=self.times, duration_s=self.record.duration_s)

    def save(self, folder: str | Path = "scores", formats: Iterable[str] = ("json",)) -> list[Path]:
        """Write `<folder>/<video id>.<format>` for every format, and return the paths.

        Formats are those of `vad score --format`. The video is decoded at most once. Raises
        UsageError if a format is unknown, or if it needs the video and the file is missing; raises
        VideoError if the video cannot be read.
        """
        return cast("list[Path]", _writers().save(self, Path(folder), formats))

    def plot(self, path: str | Path | None = None) -> Path:
        """Draw the curve as a PNG file, and return its path.

        The default path is `<video id>.png` in the current folder.
        """
        path = Path(path) if path else Path(f"{key_of(self.video)}.png")
        _writers().write_png(path, self)
        return path

    def to_dataframe(self, rows: Literal["frames", "snippets", "events"] = "frames") -> DataFrame:
        """Return a pandas table with one row per frame, snippet or event.

        `attrs` of the table says what the scores are if no run made them. Raises UsageError if
        pandas is not installed.
        """
        if rows == "events":
            values = [event_dict(event) for event in self.events]
            names = list(EVENT_COLUMNS)
        elif rows == "snippets":
            values = self._snippet_dicts()
            names = list(values[0])
        else:
            names = ["frame", "seconds", "score"]
            values = [dict(zip(names, row, strict=True)) for row in self.rows()]
        table = dataframe({name: [value[name] for value in values] for name in names})
        table.attrs |= {n: v for n, v in (("meaning", self.meaning), ("doubt", self.doubt)) if v}
        return table

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values, by the schema `vad.scores/1` that `read_scores`
        reads.
        """
        return {
            "schema": SCHEMA,
            "generator": f"vad {VERSION}",
            "video": self.video,
            **asdict(self.record),
            "clip_frames": CLIP_FRAMES,
            "detector": self.detector,
            "threshold": self.threshold,
            "threshold_from": self.threshold_from,
            "prior": self.prior,
            "normal_footage": self.normal_footage and asdict(self.normal_footage),
            "familiarity": self.familiarity,
            "training_fps": self.training_fps and asdict(self.training_fps),
            "camera": self.camera,
            "warning": self.warning,
            "meaning": self.meaning,
            "doubt": self.doubt,
            "propagation": _fields(self.propagation, Propagation),
            "rule": _fields(self.rule, EventRule),
            "peak": exact(self.peak),
            "events": [event_dict(event) for event in self.events],
            "where": self.where and _where_dict(self.where),
            "kinds": self.kinds and kinds_dict(self.kinds),
            "explained": self.explained and asdict(self.explained),
            "snippets": self._snippet_dicts(),
            "frames": [
                {"frame": frame, "seconds": seconds, "timecode": timecode(seconds), "score": score}
                for frame, seconds, score in self.rows()
            ],
            "provenance": dict(self.provenance),
        }

    def _snippet_dicts(self) -> list[dict[str, object]]:
        record = self.record
        snippets: list[dict[str, object]] = []
        for index, score in enumerate(self.snippets):
            start, stop = record.grid.frames_of(index, record.n_frames)
            start_s, end_s = record.grid.seconds(index, self.times, record.duration_s)
            snippets.append(
                {
                    "snippet": index,
                    "start_frame": start,
                    "end_frame": stop,
                    "start_s": round(start_s, 6),
                    "end_s": round(end_s, 6),
                    "score": exact(score),
                }
                | ({"caption": self.captions[index]} if self.captions else {})
            )
        return snippets

    def rows(self) -> list[tuple[int, float, float]]:
        """Return (frame, seconds, score) for every frame."""
        times = (round(float(t), 6) for t in self.times)
        scores = (exact(s) for s in self.frames)
        return [(i, t, s) for i, (t, s) in enumerate(zip(times, scores, strict=True))]


def _where_dict(where: Where) -> dict[str, object]:
    """Return the shares, in thousandths, and the pixels that they are of, as plain values."""
    shares = where.shares.astype(np.float64).round(3).tolist()
    return {"view_px": [round(side, 3) for side in where.view], "shares": shares}


def kinds_dict(kinds: Kinds) -> dict[str, object]:
    """Return the names and the shares, with four decimals, as plain values."""
    shares = kinds.shares.astype(np.float64).round(4).tolist()
    return {"names": list(kinds.names), "least": kinds.least, "shares": shares}


def event_dict(event: Event) -> dict[str, object]:
    """Return an event as plain values, with frames, seconds and timecodes."""
    return {
        "start_frame": event.start_frame,
        "end_frame": event.end_frame,
        "start_s": event.start_s,
        "end_s": event.end_s,
        "start_timecode": timecode(event.start_s),
        "end_timecode": timecode(event.end_s),
        "peak": exact(event.peak),
        "peak_frame": event.peak_frame,
        "peak_s": event.peak_s,
        "mean": exact(event.mean),
        "reading": event.reading,
        "kind": event.kind,
        "kind_share": event.kind_share,
        "caption": event.caption,
        **box_dict(event.box),
    }


def dataframe(columns: Mapping[str, Sequence[object]]) -> DataFrame:
    """Return a pandas table of named columns. Raises UsageError if pandas is not installed."""
    try:
        from pandas import DataFrame
    except ImportError:
        raise UsageError("tables need the package pandas", hint="pip install pandas") from None
    return DataFrame(columns)


def _fields(value: object, cls: type) -> dict[str, object]:
    """Return the values of the settings that `cls` declares; `value` may be of a subclass."""
    return {f.name: getattr(value, f.name) for f in fields(cls)}


def exact(score: float | np.floating) -> float:
    """Return a float32 score as the shortest decimal number that rounds to it, as files hold it."""
    return float(str(np.float32(score)))


def _writers() -> ModuleType:
    """Import `vad.stages.infer.writers` on first use, because that module imports this one."""
    return import_module(".writers", __package__)
