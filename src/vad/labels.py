"""Labels of videos, their anomalous frames, and a person's verdicts on events.

    labels.csv    video,label[,category][,split][,fold][,source]   label 0 normal, 1 abnormal
    segments.csv  video,start_frame,end_frame[,category]           half-open, frames from 0
    reviews.csv   video,start_frame,end_frame,...,verdict          confirmed or dismissed

Other columns are named in a warning and not read. Videos are named by their ids in the feature
store; the last part of an id (`x` for `cam1/x`) is enough if only one video has it.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .files import write_text
from .names import VideoNames, shortened
from .tables import read_rows

log = logging.getLogger("vad")


@dataclass(frozen=True, slots=True)
class Label:
    """The label of a whole video. Fields whose column the file lacks are empty strings."""

    video: str
    label: int  # 0 normal, 1 abnormal
    category: str = ""
    split: str = ""
    fold: str = ""
    source: str = ""  # videos with the same source stay on the same side of a split


@dataclass(frozen=True, slots=True)
class Segment:
    """Anomalous frames `[start_frame, end_frame)` of a video."""

    video: str
    start_frame: int
    end_frame: int
    category: str = ""


Verdict = Literal["confirmed", "dismissed"]  # the event is anomalous, or it is not
VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in get_args(Verdict)}


@dataclass(frozen=True, slots=True)
class Review:
    """A person's verdict on the frames `[start_frame, end_frame)` of a video."""

    video: str
    start_frame: int
    end_frame: int
    verdict: Verdict

    @property
    def label(self) -> int:
        """Return the verdict as a label: 1 if the event was confirmed, 0 if dismissed."""
        return int(self.verdict == "confirmed")


LABELS = [field.name for field in fields(Label)]
SEGMENTS = [field.name for field in fields(Segment)]
REVIEWS = [field.name for field in fields(Review)]
Named = TypeVar("Named", Label, Segment, Review)


class Table(Protocol):
    """The methods of a pandas DataFrame by which labels are read."""

    @property
    def columns(self) -> Iterable[object]: ...
    def to_dict(self, orient: Literal["records"]) -> list[dict[Hashable, object]]: ...


Labels = str | Path | Mapping[str, object] | Table  # a file, {video: label}, or a DataFrame


def read_labels(source: Labels) -> list[Label]:
    """Return labels from a file, a mapping {video: label}, or a DataFrame with the file's columns.

    Raises UsageError that names the line or row of the first mistake: a label that is missing or
    neither 0 nor 1, a video that is labelled twice, or a missing column.
    """
    labels: list[Label] = []
    seen: set[str] = set()
    for where, row in _label_rows(source):
        if row["label"] not in ("0", "1"):
            said = f"label is {row['label']!r}" if row["label"] else "there is no label"
            raise UsageError(f"{where}: {said}; write 0 (normal) or 1 (abnormal)")
        if row["video"] in seen:
            raise UsageError(f"{where}: {row['video']!r} is labelled twice")
        seen.add(row["video"])
        optional = {n: row.get(n, "") for n in ("category", "split", "fold", "source")}
        labels.append(Label(row["video"], int(row["label"]), **optional))
    if not labels:
        raise UsageError(f"{name_of(source)} labels no video")
    return labels


def name_of(source: Labels) -> str:
    """Return the name of labels in messages: their file, or "the labels"."""
    return str(source) if isinstance(source, str | Path) else "the labels"


def _label_rows(source: Labels) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of labels as {column: value}, each after its name for messages."""
    if isinstance(source, str | Path):
        yield from read_rows(Path(source), LABELS[:2], LABELS[2:])
    elif isinstance(source, Mapping):
        for video, label in source.items():
            yield f"the labels, {video!r}", {"video": _text(video), "label": _text(label)}
    else:
        columns = [str(column) for column in source.columns]
        if absent := [name for name in LABELS[:2] if name not in columns]:
            raise UsageError(
                f"the labels have no column {absent[0]!r} (they have: {', '.join(columns)})",
                hint="name the columns video and label",
            )
        for index, row in enumerate(source.to_dict("records")):
            texts = {str(name): _text(value) for name, value in row.items()}
            yield f"the labels, row {index}", texts


def _text(value: object) -> str:
    """Return a cell as in a CSV file: "" if it is missing, a whole number without a point."""
    if value is None or value != value:  # True for NaN
        return ""
    if isinstance(value, bool | np.bool_) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value).strip()


def read_segments(path: str | Path) -> list[Segment]:
    """Return the segments of a file. Raises UsageError with the line of the first mistake."""
    segments = []
    for where, row in read_rows(Path(path), SEGMENTS[:3], SEGMENTS[3:]):
        segments.append(Segment(row["video"], *_interval(where, row), row.get("category", "")))
    return segments


def read_reviews(path: str | Path) -> list[Review]:
    """Return the verdicts of a file, such as a report saves.

    If one interval has several verdicts, the last one counts. Raises UsageError with the line of
    the first mistake.
    """
    reviews: dict[tuple[str, int, int], Review] = {}
    for where, row in read_rows(Path(path), REVIEWS, ("start_s", "end_s")):
        start, end = _interval(where, row)
        verdict = VERDICTS.get(row["verdict"])
        if verdict is None:
            raise UsageError(
                f"{where}: verdict is {row['verdict']!r}; write confirmed or dismissed"
            )
        reviews[row["video"], start, end] = Review(row["video"], start, end, verdict)
    return list(reviews.values())


def _interval(where: str, row: Mapping[str, str]) -> tuple[int, int]:
    """Return start_frame and end_frame of a row. Raises UsageError if they are no interval."""
    try:
        start, end = int(row["start_frame"]), int(row["end_frame"])
    except ValueError:
        raise UsageError(f"{where}: start_frame and end_frame are whole numbers") from None
    if not 0 <= start < end:
        raise UsageError(f"{where}: [{start}, {end}) is no interval of frames")
    return start, end


def match(
    named: Iterable[Named],
    ids: Iterable[str],
    *,
    where: str | Path,
    missing: Literal["drop", "keep", "refuse"] = "drop",
    stored_as: str = "in the store",
) -> list[Named]:
    """Return labels, segments or reviews, in the same order, renamed to the ids of the store.

    missing: whether those of videos that the store lacks are dropped with a warning, kept
    unchanged, or refused by UsageError. Raises UsageError also if a name fits several stored
    videos, if two labels are of one video, or if no name fits. where: the file that messages name.
    stored_as: what messages say that videos are not.
    """
    named, ids = list(named), list(ids)
    stored = VideoNames(ids)
    matched: list[Named] = []
    lacking: list[str] = []
    labelled: dict[str, str] = {}
    for item in named:
        fits = stored.find(item.video)
        if len(fits) > 1:
            raise UsageError(
                f"{where}: {item.video!r} could be {fits[0]!r} or {fits[1]!r}",
                hint="write the name as the store has it",
            )
        if not fits:
            lacking.append(item.video)
            if missing == "keep":
                matched.append(item)
            continue
        if isinstance(item, Label) and labelled.setdefault(fits[0], item.video) != item.video:
            both = f"{labelled[fits[0]]!r} and {item.video!r}"
            raise UsageError(f"{where}: {both} are one stored video, {fits[0]!r}")
        matched.append(replace(item, video=fits[0]))
    if len(lacking) == len(named):
        theirs, ours = (", ".join(map(repr, names[:2])) for names in (lacking, ids))
        raise UsageError(
            f"{where} names no stored video (it names {theirs}, the store holds {ours})"
            if lacking and ids
            else f"{where} names no stored video",
            hint="write the names as vad inspect STORE shows them",
        )
    if lacking:
        unique = list(dict.fromkeys(lacking))
        text = f"{where}: {len(unique)} videos are not {stored_as}: {shortened(unique)}"
        if missing == "refuse":
            raise UsageError(text, hint="extract them, or give a list without them: --labels CSV")
        log.warning("%s", text)
    return matched


def intervals_of(truth: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the intervals `[start, end)` in which a mask [frames] is true."""
    edges = np.flatnonzero(np.diff(truth, prepend=False, append=False))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def write_labels(path: Path, labels: Iterable[Label]) -> None:
    """Write a labels file. Optional columns without any value are left out."""
    rows = [asdict(label) for label in labels]
    _write(path, rows, [n for n in LABELS if n in ("video", "label") or any(r[n] for r in rows)])


def write_unlabelled(path: Path, videos: Iterable[str]) -> None:
    """Write a labels file with empty labels, for the user to fill in."""
    _write(path, [{"video": video, "label": ""} for video in videos], ("video", "label"))


def write_segments(path: Path, segments: Iterable[Segment]) -> None:
    """Write a segments file."""
    _write(path, [asdict(segment) for segment in segments], SEGMENTS)


def _write(path: Path, rows: Iterable[dict[str, object]], columns: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def frame_truth(video: str, n_frames: int, segments: Iterable[Segment]) -> NDArray[np.bool_]:
    """Return a mask [frames] of a video that is true within its segments.

    Segments are cut at the end of the video. One that begins after the end causes a warning.
    """
    truth = np.zeros(n_frames, np.bool_)
    for segment in segments:
        if segment.video != video:
            continue
        if segment.start_frame >= n_frames:
            log.warning(
                "%s: the segment at frame %d begins after the last of %d frames",
                video,
                segment.start_frame,
                n_frames,
            )
        truth[segment.start_frame : segment.end_frame] = True
    return truth
