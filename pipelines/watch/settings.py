"""What `cameras.toml` holds: the cameras to watch, when and where, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from vad.config import option
from vad.stages.extract.live import LiveSource

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """Settings of the process: keys at the top of the file."""

    folder: str = option("alerts", "folder of the journal, snapshots and clips")
    alerts_per_hour: int = option(
        30, "most alerts of a camera in an hour; further events are counted alone", minimum=1
    )
    clips_gb: float = option(10.0, "room for snapshots and clips, in GB; the oldest go", minimum=0)
    clips_days: float = option(30.0, "days after which snapshots and clips go", minimum=0)
    metrics: str | None = option(None, "HOST:PORT at which Prometheus finds /metrics")
    device: str = option("auto", "auto, cpu, cuda or cuda:1")


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """Settings of one camera: keys of [cameras.NAME], or of [defaults] for all of them."""

    address: str = option("", "rtsp://..., the number of a camera, or a file, played at its rate")
    run: str | None = option(None, "trained run; by default the newest one in runs/")
    camera: str | None = option(None, "name by which vad calibrate knows the camera")
    threshold: float | None = option(None, "score from which an event begins", minimum=0, maximum=1)
    false_alarms: str | None = option(None, "in place of a threshold: a rate such as 2/h")
    cool_down: float = option(30.0, "seconds after an event without another alert", minimum=0)
    before: float = option(5.0, "seconds of a clip before its event", minimum=0, maximum=60)
    after: float = option(
        5.0, "seconds without a high score after which an event ends", minimum=0.5, maximum=60
    )
    longest: float = option(120.0, "seconds after which an event ends anyway", minimum=1)
    queue: int = option(4, "clips that may wait; then the oldest is dropped", minimum=1)
    time_limit: float = option(15.0, "seconds without a frame: the camera is lost", minimum=1)
    loop: bool = option(False, "play a file again and again")


@dataclass(frozen=True, kw_only=True)
class SinkSettings:
    """Settings that all sinks have: which alerts they are sent."""

    type: Literal["jsonl", "folder", "webhook", "mqtt", "command"] = option("jsonl", "kind of sink")
    min_score: float = option(0.0, "least score of an event", minimum=0, maximum=1)
    closed: bool = option(True, "tell the end of events, too")
    health: bool = option(True, "tell what cameras suffer from")


@dataclass(frozen=True, kw_only=True)
class LinesSettings(SinkSettings):
    """JSON lines, in a file or on stdout."""

    path: str = option("-", "file to which a JSON line is added for each alert; -: stdout")


@dataclass(frozen=True, kw_only=True)
class FolderSettings(SinkSettings):
    """A folder with the files of every event."""

    path: str = option("", "folder for a JSON file, a snapshot and a clip of each event")


@dataclass(frozen=True, kw_only=True)
class WebhookSettings(SinkSettings):
    """An HTTP server to which alerts are posted."""

    url: str = option("", "http:// or https:// address to which alerts are posted")
    secret: str | None = option(None, "key of the signature (HMAC-SHA256)")
    snapshot: bool = option(False, "send the snapshot, in base64")
    timeout: float = option(10.0, "seconds to wait for the answer", minimum=0.1, maximum=600)


@dataclass(frozen=True, kw_only=True)
class MqttSettings(SinkSettings):
    """An MQTT broker, with Home Assistant's discovery."""

    host: str = option("", "MQTT broker")
    port: int = option(1883, "of the broker", minimum=1, maximum=65_535)
    user: str | None = option(None, "of the broker")
    password: str | None = option(None, "of the broker")
    tls: bool = option(False, "encrypt the connection")
    prefix: str = option("vad", "first part of all topics")
    discovery: str | None = option("homeassistant", "prefix of Home Assistant's discovery")


@dataclass(frozen=True, kw_only=True)
class CommandSettings(SinkSettings):
    """A program of this machine, which gets alerts on its standard input."""

    timeout: float = option(30.0, "seconds after which the command is ended", minimum=0.1)


SINKS: dict[str, type[SinkSettings]] = {
    "jsonl": LinesSettings,
    "folder": FolderSettings,
    "webhook": WebhookSettings,
    "mqtt": MqttSettings,
    "command": CommandSettings,
}


@dataclass(frozen=True)
class Zone:
    """A part of the picture: a polygon of points (x, y), in shares of its width and height."""

    name: str
    polygon: tuple[Point, ...]
    kind: Literal["ignore", "watch"]  # watch: all outside of such zones is ignored
    black: bool  # blacken the pixels that are ignored, too


@dataclass(frozen=True)
class Hours:
    """Hours of some days of the week, in local time; beyond midnight if they end before they
    begin.
    """

    days: frozenset[int]  # 0 is Monday
    start_min: int  # minutes since midnight
    end_min: int

    def hold(self, when: datetime) -> bool:
        """Return True if a local time is within the hours."""
        minute, day = when.hour * 60 + when.minute, when.weekday()
        if self.start_min < self.end_min:
            return day in self.days and self.start_min <= minute < self.end_min
        began_before = (day - 1) % 7 in self.days and minute < self.end_min
        return began_before or (day in self.days and minute >= self.start_min)


@dataclass(frozen=True)
class Camera:
    """A camera to watch."""

    name: str
    settings: CameraSettings
    source: LiveSource
    line: int  # of its address in the file
    zones: tuple[Zone, ...] = ()
    hours: tuple[Hours, ...] = ()  # empty: always

    def is_on(self, when: datetime) -> bool:
        """Return True if events of this local time are told."""
        return not self.hours or any(hours.hold(when) for hours in self.hours)


@dataclass(frozen=True)
class Sink:
    """One of those who are told, and what."""

    name: str
    settings: SinkSettings
    cameras: frozenset[str] = frozenset()  # empty: all
    kinds: frozenset[str] = frozenset()  # of anomaly; empty: all
    command: tuple[str, ...] = ()  # of the type `command`
    line: int = 1  # line of its kinds in the file, or else of the sink


@dataclass(frozen=True)
class Mistake:
    """What is wrong in the file, and on which line."""

    line: int
    what: str
    camera: str | None = None  # None: the file cannot be used

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}"


@dataclass(frozen=True)
class WatchFile:
    """The content of `cameras.toml`."""

    path: Path
    settings: WatchSettings
    cameras: tuple[Camera, ...]  # those without a mistake
    sinks: tuple[Sink, ...]
    mistakes: tuple[Mistake, ...]
