"""When an event begins and ends, its snapshot and clip, and the journal of all alerts.

An alert is told when an event begins (`open`) and again when it has ended (`closed`), with the same
id. It is written to the journal, and the journal to the disk, before it is sent. A sink is sent an
alert until it has confirmed it: at least once, and possibly twice if the process is killed.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TextIO

import cv2
import numpy as np
from numpy.typing import NDArray

from vad.documents import parse
from vad.files import committed, write_text
from vad.stages.infer.stream.lines import utc
from vad.stages.infer.video.mp4 import Mp4Writer
from vad.stages.infer.where import Box
from vad.stages.train.kinds import KindOfEvent, Kinds

from .settings import CameraSettings

log = logging.getLogger("vad")

JOURNAL = "journal.jsonl"
MOST_PENDING = 1000  # alerts that wait for one sink; then the oldest is given up
MOST_ENTRIES = 5000  # of the journal, before it is written anew
CLIP_FPS = 10.0  # of clips; of faster cameras some frames are left out
CLIP_SIDE_PX = 960  # longest side of clips
JPEG_QUALITY = 85

State = Literal["open", "closed", "health", "test"]
Picture = NDArray[np.uint8]  # [height, width, 3], RGB
Pictures = NDArray[np.uint8]  # [pictures, height, width, 3], RGB


@dataclass(frozen=True)
class Alert:
    """What is told of an event, or of the health of a camera."""

    id: str  # the same whenever the event is told again
    state: State
    camera: str
    run: str
    start: str  # UTC, ISO 8601
    end: str | None = None
    score: float = 0.0  # the highest so far
    threshold: float = 0.0
    once_in_s: float | None = None  # seconds between two times that normal footage reaches it
    kind: str = ""  # kind of anomaly of the event so far; "" if the run tells none
    kind_share: float | None = None  # its share among the kinds
    first_kind: str = ""  # kind when the event began, by which its first sinks were chosen
    box: tuple[int, ...] = ()  # left, top, right, bottom in pixels, if known
    snapshot: str | None = None  # paths of files
    clip: str | None = None
    known: str = ""  # UTC: when the score of the first high snippet was known
    latency_s: float = 0.0  # from the last frame of that snippet until then
    health: str = ""  # of the state `health`: ok, or what the camera suffers from
    ended_by: str = ""  # why the event ended, if not by itself
    schema: str = "vad.alert/1"


def alert_id(camera: str, unix_s: float) -> str:
    """Return the id of an event that began at a time: the same for the same event."""
    when = utc(unix_s).replace("-", "").replace(":", "").partition("+")[0]
    return f"{camera}-{when}"


# --- events


@dataclass
class _Open:
    """An event under way."""

    alert: Alert
    start_s: float  # Unix time
    last_s: float  # end of the last snippet that belongs to it
    is_told: bool  # False: suppressed by cool-down or budget
    kind: KindOfEvent


@dataclass(frozen=True, slots=True)
class Heard:
    """A scored snippet of a camera."""

    start_s: float  # Unix time
    end_s: float
    known_s: float  # Unix time at which the score was known
    score: float
    once_in_s: float | None
    box: Box | None
    kinds: Kinds | None = None  # of a snippet that reaches `low`, if they are known


class Events:
    """The events of one camera: hears scores and says which alerts are due.

    An event begins at the threshold and lasts while scores reach `low`, as `infer/events.py` says.

    After an event, the next one within the cool-down is not told, nor are events beyond the budget
    of alerts in an hour; they are counted in `suppressed`.
    """

    def __init__(
        self,
        camera: str,
        run: str,
        threshold: float,
        low: float,
        settings: CameraSettings,
        per_hour: int,
    ) -> None:
        self._camera, self._run, self._threshold, self._low = camera, run, threshold, low
        self._settings, self._per_hour = settings, per_hour
        self._open: _Open | None = None
        self._closed_s = -np.inf
        self._told_s: deque[float] = deque()
        self.n_events = 0
        self.suppressed = {"cool-down": 0, "budget": 0}

    @property
    def open_id(self) -> str | None:
        """Return the id of the event under way that was told, or None."""
        return self._open.alert.id if self._open and self._open.is_told else None

    def hear(self, heard: Heard) -> list[Alert]:
        """Return the alerts that are due when a snippet is scored: none, or one."""
        if self._open is None:
            return self._begin(heard) if heard.score >= self._threshold else []
        event = self._open
        if heard.score >= self._low:
            event.last_s = heard.end_s
            event.kind.add(heard.kinds)
            kind, share = event.kind.told
            event.alert = replace(event.alert, kind=kind, kind_share=share)
            if heard.score > event.alert.score:
                event.alert = replace(
                    event.alert,
                    score=round(heard.score, 6),
                    once_in_s=heard.once_in_s,
                    box=heard.box or event.alert.box,
                )
        if heard.end_s - event.last_s >= self._settings.after:
            return self.end()
        if heard.end_s - event.start_s >= self._settings.longest:
            return self.end("longest")
        return []

    def add_snapshot(self, path: str | None) -> None:
        """Note the snapshot of the event under way, for the alert of its end."""
        if self._open:
            self._open.alert = replace(self._open.alert, snapshot=path)

    def end(self, why: str = "") -> list[Alert]:
        """End the event under way, if there is one."""
        event, self._open = self._open, None
        if event is None:
            return []
        self._closed_s = event.last_s
        alert = replace(event.alert, state="closed", end=utc(event.last_s), ended_by=why)
        return [alert] if event.is_told else []

    def _begin(self, heard: Heard) -> list[Alert]:
        self.n_events += 1
        while self._told_s and heard.start_s - self._told_s[0] >= 3600:
            self._told_s.popleft()
        reason = ""
        if heard.start_s - self._closed_s < self._settings.cool_down:
            reason = "cool-down"
        elif len(self._told_s) >= self._per_hour:
            reason = "budget"
        event_kind = KindOfEvent()
        event_kind.add(heard.kinds)
        kind, share = event_kind.told
        alert = Alert(
            alert_id(self._camera, heard.start_s),
            "open",
            self._camera,
            self._run,
            utc(heard.start_s),
            score=round(heard.score, 6),
            threshold=self._threshold,
            once_in_s=heard.once_in_s,
            kind=kind,
            kind_share=share,
            first_kind=kind,
            box=heard.box or (),
            known=utc(heard.known_s),
            latency_s=round(heard.known_s - heard.end_s, 3),
        )
        self._open = _Open(alert, heard.start_s, heard.end_s, not reason, event_kind)
        if reason:
            self.suppressed[reason] += 1
            return []
        self._told_s.append(heard.start_s)
        return [alert]


# --- pictures


class Recorder:
    """Keeps the last seconds of a camera as JPEG pictures, and all of them during an event."""

    def __init__(self, before_s: float, longest_s: float) -> None:
        self._before_s = before_s
        self._most = round((longest_s + 2 * before_s + 60) * CLIP_FPS)
        self._pictures: deque[tuple[float, bytes]] = deque()
        self.is_on = False  # an event is under way: forget nothing

    def add(self, pictures: Pictures, start_s: float, end_s: float) -> None:
        """Add the pictures of a clip that was seen between two Unix times."""
        step_s = (end_s - start_s) / len(pictures)
        every = max(1, round(1 / CLIP_FPS / max(step_s, 1e-3)))
        for index in range(0, len(pictures), every):
            self._pictures.append((start_s + index * step_s, to_jpeg(pictures[index])))
        while self._pictures and (
            len(self._pictures) > self._most
            or (not self.is_on and self._pictures[0][0] < end_s - self._before_s)
        ):
            self._pictures.popleft()

    def take(self) -> list[tuple[float, bytes]]:
        """Return the time and the JPEG of every kept picture."""
        return list(self._pictures)


def to_jpeg(picture: Picture, box: Sequence[int] = ()) -> bytes:
    """Return a picture as JPEG, at most `CLIP_SIDE_PX` wide or high.

    box: left, top, right and bottom of a box that is drawn into it; empty for none.
    """
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    if box:
        cv2.rectangle(bgr, box[:2], box[2:], (0, 64, 255), 2)
    scale = CLIP_SIDE_PX / max(bgr.shape[:2])
    if scale < 1:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def write_clip(path: Path, pictures: Sequence[tuple[float, bytes]]) -> None:
    """Write JPEG pictures, each with its Unix time, as an MP4 file."""
    size = _from_jpeg(pictures[0][1]).shape[1::-1]
    with (
        committed(path) as part,
        Mp4Writer(
            part, size=(size[0], size[1]), fps=CLIP_FPS, start_s=pictures[0][0], speed="superfast"
        ) as writer,
    ):
        last_s = -np.inf
        for at_s, jpeg in pictures:
            if at_s > last_s:
                writer.add(_from_jpeg(jpeg), at_s)
                last_s = at_s


def _from_jpeg(jpeg: bytes) -> Picture:
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None  # written by `to_jpeg`
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def prune(folder: Path, max_bytes: float, max_age_s: float) -> int:
    """Remove the oldest files of a folder beyond a size or an age; return the bytes that stay."""
    files = []
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except OSError:
            continue
        if path.is_file():
            files.append((found.st_mtime, found.st_size, path))
    total = sum(size for _, size, _ in files)
    oldest_s = time.time() - max_age_s
    for changed_s, size, path in sorted(files):
        if total <= max_bytes and changed_s >= oldest_s:
            break
        path.unlink(missing_ok=True)
        total -= size
    return total


# --- the journal


@dataclass(frozen=True)
class _Entry:
    """A line of the journal: an alert and the sinks to tell, or a sink that confirmed an alert."""

    alert: Alert | None = None
    sinks: tuple[str, ...] = ()
    told: str = ""  # key of a confirmed alert
    sink: str = ""


class Journal:
    """All alerts on disk, with the sinks that have not confirmed them. It may be used by several
    threads.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._changed = threading.Condition()
        self._pending: dict[str, OrderedDict[str, Alert]] = {}
        self._open: dict[str, Alert] = {}
        self.n_given_up = 0
        for entry in self._read():
            self._apply(entry)
        self._file: TextIO | None = None
        self._n_entries, self._is_behind = 0, False  # is_behind: the last write failed
        self._keep(None)

    def close(self) -> None:
        """Close the file; nothing may be added afterwards."""
        if self._file:
            with suppress(OSError):  # what a full disk did not take was told
                self._file.close()

    def add(self, alert: Alert, sinks: Iterable[str]) -> None:
        """Write an alert and the names of the sinks that shall be told, and wake these."""
        with self._changed:
            self._append(_Entry(alert, tuple(sinks)))
            self._changed.notify_all()

    def confirm(self, alert: Alert, sink: str) -> None:
        """Note that a sink has been told an alert."""
        with self._changed:
            self._append(_Entry(told=_key(alert), sink=sink))
            self._changed.notify_all()

    def next_for(self, sink: str, timeout_s: float) -> Alert | None:
        """Return the oldest alert that a sink has not confirmed; None if there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending.get(sink), timeout_s)
            return next(iter(self._pending.get(sink, {}).values()), None)

    def n_pending(self, sink: str) -> int:
        """Return the number of alerts that a sink has not confirmed."""
        return len(self._pending.get(sink, ()))

    def left_open(self) -> list[Alert]:
        """Return the events that began and did not end, as after the process was killed."""
        return list(self._open.values())

    def forget(self, sinks: Iterable[str]) -> None:
        """Give up what is pending for sinks other than these, which are no longer configured."""
        with self._changed:
            for name in self._pending.keys() - set(sinks):
                del self._pending[name]

    def _append(self, entry: _Entry) -> None:
        self._apply(entry)
        self._keep(entry)

    def _keep(self, entry: _Entry | None) -> None:
        """Write an entry to the disk, or with None all that is known. While the disk takes nothing,
        sinks are told from memory, and the next write writes all.
        """
        try:
            full = self._n_entries >= MOST_ENTRIES
            if entry is None or self._file is None or self._is_behind or full:
                self._rewrite()
            else:
                self._file.write(_line(entry))
                self._file.flush()
                os.fsync(self._file.fileno())
                self._n_entries += 1
        except OSError as error:
            if not self._is_behind:
                log.warning(
                    "%s cannot be written (%s): alerts are sent all the same, but a restart now "
                    "would lose those that wait, or send some twice",
                    *(self._path, error.strerror),
                )
            self._is_behind = True
        else:
            if self._is_behind:
                log.info("%s is written again", self._path)
            self._is_behind = False

    def _apply(self, entry: _Entry) -> None:
        if entry.alert is None:
            self._pending.get(entry.sink, OrderedDict()).pop(entry.told, None)
            return
        alert = entry.alert
        if alert.state == "open":
            self._open[alert.id] = alert
        elif alert.state == "closed":
            self._open.pop(alert.id, None)
        for sink in entry.sinks:
            waiting = self._pending.setdefault(sink, OrderedDict())
            waiting[_key(alert)] = alert
            if len(waiting) > MOST_PENDING:
                waiting.popitem(last=False)
                self.n_given_up += 1

    def _rewrite(self) -> None:
        """Write the journal anew, without what all sinks have confirmed."""
        kept: OrderedDict[str, tuple[Alert, list[str]]] = OrderedDict()
        for alert in self._open.values():
            kept[_key(alert)] = alert, []
        for sink, waiting in self._pending.items():
            for key, alert in waiting.items():
                kept.setdefault(key, (alert, []))[1].append(sink)
        lines = [_line(_Entry(alert, tuple(sinks))) for alert, sinks in kept.values()]
        for alert, _ in kept.values():
            if alert.state == "open" and alert.id not in self._open:  # a sink is yet to be told
                lines.append(_line(_Entry(replace(alert, state="closed"))))
        if self._file:
            with suppress(OSError):  # of lines that a full disk did not take; they are in `lines`
                self._file.close()
        write_text(self._path, "".join(lines))
        self._file = self._path.open("a", encoding="utf-8")
        self._n_entries = 0

    def _read(self) -> Iterable[_Entry]:
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield parse(_Entry, json.loads(line))
                except ValueError:  # the line that was written when the process was killed
                    log.warning("%s: line %d is damaged and left out", self._path, number)


def _key(alert: Alert) -> str:
    return f"{alert.id} {alert.state}"


def _line(entry: _Entry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False) + "\n"
