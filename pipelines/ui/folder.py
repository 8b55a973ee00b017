"""The project folder of the page, all plain files that the commands of `vad` read as well.

videos/          the videos
labels.csv       labels of videos
reviews.csv      verdicts on events: video,start_frame,end_frame,start_s,end_s,verdict
features.zarr    features
runs/            trained runs
scores/          scores and reports; copies/ has videos for reports, under secret names
cameras.toml     cameras of `vad watch`
.vad/            pictures of the page, which can be made again
"""

from __future__ import annotations

import csv
import io
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vad.documents import parse, read_json
from vad.errors import UsageError
from vad.files import write_text
from vad.labels import LABELS, VERDICTS, Label, Review, read_reviews, write_labels
from vad.names import VideoNames
from vad.stages.extract.sources import Source, videos_below
from vad.stages.infer.novelty import NAME as NOVELTY
from vad.stages.train.card import CARD, Card, read_card
from vad.store import FeatureStore, key_of
from vad.tables import cell, read_rows, read_text

from ..paths import CAMERAS, REVIEWS, RUNS, SCORES, STORE, VIDEOS, finished_runs
from ..paths import LABELS as LABELS_FILE

PREVIEWS, STILLS, COPIES = Path(".vad/previews"), Path(".vad/stills"), SCORES / "copies"
# of reviews.csv, as reports save it
COLUMNS = ("video", "start_frame", "end_frame", "start_s", "end_s", "verdict")


@dataclass(frozen=True)
class ScoredEvent:
    """An event, as a file of scores has it."""

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    peak: float
    peak_frame: int
    reading: str = ""
    kind: str = ""
    kind_share: float | None = None
    caption: str = ""


@dataclass(frozen=True)
class Scored:
    """What the page shows of a file of scores."""

    video: str
    detector: str
    threshold: float
    peak: float
    duration_s: float
    events: tuple[ScoredEvent, ...]
    meaning: str = ""
    warning: str = ""
    made_s: float = 0.0  # Unix time of the file


@dataclass(frozen=True)
class Video:
    """A video of the project, and what is known about it."""

    id: str
    path: Path
    label: str  # "0" normal, "1" abnormal, "" not labelled
    category: str
    has_features: bool
    scored: Scored | None

    @property
    def key(self) -> str:
        """Return the name of the video's files."""
        return key_of(self.id)


@dataclass(frozen=True)
class Camera:
    """A camera of cameras.toml, its address without user and password."""

    name: str
    address: str
    run: str
    hours: tuple[str, ...]
    n_zones: int


class ProjectFolder:
    """Reads and writes the files of a project folder. Its methods can be called from several
    threads.
    """

    def __init__(self, path: Path, detector: Path | None = None) -> None:
        self.path, self.detector = path, detector
        self._lock = threading.Lock()
        self._scored: dict[Path, tuple[int, Scored | None]] = {}  # by file: time of change, content

    def __truediv__(self, name: str | Path) -> Path:
        return self.path / name

    # --- videos

    def sources(self) -> list[Source]:
        """Return the video files, by name; of several with the same name, the first."""
        found: dict[str, Source] = {}
        for source in videos_below(self / VIDEOS):
            if source.path.is_file():  # and no link to a file that is gone
                found.setdefault(source.id, source)
        return sorted(found.values(), key=lambda source: source.id)

    def without_pictures(self) -> list[Source]:
        """Return the video files that lack a still or a loop, or have changed since."""

        def is_made(source: Source) -> bool:
            since_s = source.path.stat().st_mtime
            files = preview_files(self / PREVIEWS, source.id)
            return all(file.exists() and file.stat().st_mtime >= since_s for file in files)

        return [source for source in self.sources() if not is_made(source)]

    def videos(self) -> list[Video]:
        """Return all videos, by name. Raises UsageError if a file of the project is wrong."""
        sources = self.sources()
        labels = self.labels([source.id for source in sources])
        stored = self.stored()
        scored = self.scored()
        blank = Label("", 0)
        return [
            Video(
                source.id,
                source.path,
                str(labels[source.id].label) if source.id in labels else "",
                labels.get(source.id, blank).category,
                source.id in stored,
                scored.get(source.id),
            )
            for source in sources
        ]

    def stored(self) -> set[str]:
        """Return the ids of the videos that have features."""
        if not FeatureStore.exists(self / STORE):
            return set()
        return set(FeatureStore.open(self / STORE).ids())

    # --- labels

    def labels(self, ids: Sequence[str]) -> dict[str, Label]:
        """Return the labels by video; lines of labels.csv without a label are left out."""
        names = VideoNames(ids)
        found = {}
        for label in self._rows():
            fits = names.find(label.video)
            if len(fits) == 1:
                found[fits[0]] = label
        return found

    def _rows(self) -> list[Label]:
        path = self / LABELS_FILE
        if not path.exists():
            return []
        rows = []
        for where, row in read_rows(path, LABELS[:2], LABELS[2:]):
            if row["label"] not in ("0", "1", ""):
                raise UsageError(f"{where}: label is {row['label']!r}; write 0 or 1")
            if row["label"]:
                known = {name: row.get(name, "") for name in LABELS if name != "label"}
                rows.append(Label(label=int(row["label"]), **known))
        return rows

    def set_labels(self, changes: Sequence[tuple[str, str, str | None]]) -> None:
        """Write labels into labels.csv.

        changes: video, label ("0", "1", or "" for none) and category, None to keep it. Other
        columns of the file and labels of other videos stay. Raises UsageError if a label or a video
        is unknown.
        """
        with self._lock:
            ids = [source.id for source in self.sources()]
            names, rows = VideoNames(ids), self._rows()
            at = {fits[0]: i for i, x in enumerate(rows) if len(fits := names.find(x.video)) == 1}
            for video, label, category in changes:
                if video not in ids:
                    raise UsageError(f"there is no video {video!r}")
                if label not in ("0", "1", ""):
                    raise UsageError(f"label is {label!r}, expected 0, 1 or nothing")
                old = rows[at[video]] if video in at else Label(video, 0)
                if label == "":
                    new = replace(old, label=-1)  # left out below
                else:
                    words = old.category if category is None else " ".join(category.split())
                    new = replace(old, label=int(label), category=words if label == "1" else "")
                if video in at:
                    rows[at[video]] = new
                else:
                    at[video] = len(rows)
                    rows.append(new)
            write_labels(self / LABELS_FILE, [row for row in rows if row.label >= 0])

    def to_label(self, videos: Sequence[Video]) -> list[Video]:
        """Return the videos without a label, those first about which the scores are most in doubt.

        These are the ones whose highest score is nearest to the threshold of a run. Scores of
        novelty are no doubt: the most novel videos come first. Videos without scores come last.
        """

        def doubt(video: Video) -> float:
            scored = video.scored
            if scored is None:
                return 2.0
            return -scored.peak if scored.meaning else abs(scored.peak - scored.threshold)

        return sorted((video for video in videos if not video.label), key=doubt)

    # --- scores and reviews

    def scored(self) -> dict[str, Scored]:
        """Return the scores of the videos in scores/, by video; files that are no scores are left
        out.
        """
        with self._lock:
            found = {}
            for path in sorted((self / SCORES).glob("*.json")):
                changed = path.stat().st_mtime_ns
                if path not in self._scored or self._scored[path][0] != changed:
                    self._scored[path] = (changed, _read_scored(path))
                if scored := self._scored[path][1]:
                    found[scored.video] = scored
            return found

    def reviews(self) -> list[Review]:
        """Return the verdicts on events. Raises UsageError if reviews.csv is wrong."""
        path = self / REVIEWS
        return read_reviews(path) if path.exists() else []

    def judge(self, video: str, start_frame: int, end_frame: int, verdict: str) -> None:
        """Write a verdict on an event into reviews.csv; the verdict "" removes it.

        It replaces verdicts on events that it overlaps. Raises UsageError if there is no such
        event.
        """
        scored = self.scored().get(video)
        span = (start_frame, end_frame)
        events = scored.events if scored else ()
        event = next((e for e in events if (e.start_frame, e.end_frame) == span), None)
        if event is None or verdict not in (*VERDICTS, ""):
            raise UsageError(f"there is no event at frames {span} of {video!r}")
        with self._lock:
            self.reviews()  # raises UsageError if the file is wrong
            path, name = self / REVIEWS, cell(video)
            rows = [row for _, row in read_rows(path, COLUMNS)] if path.exists() else []
            rows = [
                row
                for row in rows
                if row["video"] != name
                or int(row["end_frame"]) <= start_frame
                or int(row["start_frame"]) >= end_frame
            ]
            if verdict:
                values = (name, *span, event.start_s, event.end_s, verdict)
                rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
            self._write_reviews(sorted(rows, key=lambda r: (r["video"], int(r["start_frame"]))))

    def _write_reviews(self, rows: Sequence[Mapping[str, str]]) -> None:
        if not rows:
            (self / REVIEWS).unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self / REVIEWS, text.getvalue())

    # --- runs and cameras

    def runs(self) -> list[tuple[Path, Card]]:
        """Return the finished runs that can be read, the newest first."""
        found = []
        for path in reversed(finished_runs(self / RUNS)):
            try:
                found.append((path, read_card(path)))
            except UsageError:
                continue
        return found

    def run(self) -> Path | None:
        """Return the folder of the run that scores videos; None: their novelty is scored."""
        if self.detector is not None:
            return self.detector
        return next(iter(reversed(finished_runs(self / RUNS))), None)

    def name_of(self, run: Path) -> str:
        """Return the name that the page gives a run: its path in runs/, as `topk/seed-1`."""
        folder, runs = run.resolve(), (self / RUNS).resolve()
        return folder.relative_to(runs).as_posix() if folder.is_relative_to(runs) else folder.name

    def unscored(self, videos: Sequence[Video]) -> list[Video]:
        """Return the videos that have no scores of the present run, or older ones than the file."""
        run = self.run()
        name = run.resolve().name if run else NOVELTY
        since_s = (run / CARD).stat().st_mtime if run and (run / CARD).exists() else 0.0

        def is_current(video: Video) -> bool:
            scored = video.scored
            if scored is None or scored.detector != name:
                return False
            return scored.made_s >= max(since_s, video.path.stat().st_mtime)

        return [video for video in videos if not is_current(video)]

    def cameras(self) -> list[Camera]:
        """Return the cameras of cameras.toml. Raises UsageError if it is not TOML."""
        path = self / CAMERAS
        if not path.exists():
            return []
        try:
            document = tomllib.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from None
        usual, tables = document.get("defaults", {}), document.get("cameras", {})
        if not (isinstance(usual, dict) and isinstance(tables, dict)):
            raise UsageError(f"{path}: defaults and cameras must be tables")
        return [
            Camera(
                name,
                _without_password(str(given.get("address", ""))),
                str(given.get("run", "")),
                _listed(given.get("hours")),
                len(zones) if isinstance(zones := given.get("zones"), list) else 0,
            )
            for name, table in tables.items()
            if isinstance(table, dict) and (given := {**usual, **table})
        ]


def preview_files(folder: Path, video: str) -> tuple[Path, Path]:
    """Return the paths of the still (JPEG) and the loop (MP4) of a video in a folder."""
    return folder / f"{key_of(video)}.jpg", folder / f"{key_of(video)}.mp4"


def _read_scored(path: Path) -> Scored | None:
    try:
        found = parse(Scored, read_json(path))
    except (UsageError, ValueError, OSError):
        return None
    return replace(found, made_s=path.stat().st_mtime)


def _listed(hours: object) -> tuple[str, ...]:
    return tuple(map(str, hours)) if isinstance(hours, list) else (str(hours),) if hours else ()


def _without_password(address: str) -> str:
    if "://" not in address:
        return address
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
