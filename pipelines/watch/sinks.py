"""Where alerts are sent: JSON lines, a folder, a webhook, MQTT, a command.

Every sink has a thread of its own, which takes alerts from the journal in their order and tries
each again, after 1, 2, 4, ... 60 seconds, until it succeeds. One sink that fails delays no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from vad.errors import UsageError
from vad.files import check_writable, committed, write_json

from .events import Alert, Journal
from .settings import (
    CommandSettings,
    FolderSettings,
    LinesSettings,
    MqttSettings,
    Sink,
    WebhookSettings,
)

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger("vad")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LAST_S = 5.0  # to wait for a sink at the end
PACKAGES = {  # by type of sink: a module that it needs, and what to say where it is missing
    "webhook": ("httpx", "webhooks need the package httpx"),
    "mqtt": ("paho.mqtt.client", "MQTT needs the package paho-mqtt"),
}

Send = Callable[[Alert], None]


class NotSent(Exception):
    """An alert was not taken; it is sent again. The text shows no secrets."""


def wants(sink: Sink, alert: Alert) -> bool:
    """Return True if a sink shall be sent an alert."""
    settings = sink.settings
    if alert.state == "test":
        return True
    if sink.cameras and alert.camera not in sink.cameras:
        return False
    if alert.state == "health":
        return settings.health
    if sink.kinds and sink.kinds.isdisjoint((alert.kind, alert.first_kind)):
        return False
    return alert.score >= settings.min_score and (alert.state == "open" or settings.closed)


def check_sink(sink: Sink) -> None:
    """Raise UsageError if the program or the package of a sink is not there, or its path cannot be
    written.
    """
    _check_package(sink)
    match sink.settings:
        case CommandSettings() if shutil.which(sink.command[0]) is None:
            raise UsageError(f"there is no program {sink.command[0]!r}")
        case FolderSettings(path=path):
            check_writable(Path(path))
        case LinesSettings(path=path) if path != "-":
            if not Path(path).exists():
                check_writable(Path(path).parent)
            elif Path(path).is_dir() or not os.access(path, os.W_OK):
                raise UsageError(f"{path} cannot be written")


def _check_package(sink: Sink) -> None:
    name, what = PACKAGES.get(sink.settings.type, ("", ""))
    try:
        if name:
            import_module(name)
    except ImportError:
        raise UsageError(what, hint="pip install 'wsvad[watch]'") from None


class Delivery:
    """The thread that sends one sink its alerts."""

    def __init__(self, sink: Sink, journal: Journal, folder: Path, cameras: Sequence[str]) -> None:
        self.sink, self.n_sent, self.n_failed, self.trouble = sink, 0, 0, ""
        self._journal, self._folder, self._cameras = journal, folder, cameras
        self._stop = threading.Event()
        self._sender: Sender | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)

    def start(self) -> None:
        """Start sending. Raises UsageError if a package is missing."""
        self._sender = sender_of(self.sink, self._folder, self._cameras)
        self._thread.start()

    def stop(self) -> None:
        """Wait a little for what is on its way, and end the thread. What was not sent stays in the
        journal.
        """
        until_s = time.monotonic() + LAST_S
        while self._journal.n_pending(self.sink.name) and time.monotonic() < until_s:
            if self.trouble:
                break
            time.sleep(0.02)
        self._stop.set()
        self._thread.join(LAST_S)
        if self._sender:
            self._sender.close()

    def _run(self) -> None:
        assert self._sender is not None
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            alert = self._journal.next_for(self.sink.name, timeout_s=0.2)
            if alert is None:
                continue
            try:
                self._sender.send(alert)
            except Exception as error:  # of whatever kind, the next try may succeed
                self.n_failed += 1
                reason = str(error) if isinstance(error, NotSent) else type(error).__name__
                if reason != self.trouble:
                    log.warning("sink %s: %s; trying again", self.sink.name, reason)
                self.trouble = reason
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if self.trouble:
                log.info("sink %s: works again", self.sink.name)
            self.n_sent, self.trouble, pause_s = self.n_sent + 1, "", FIRST_PAUSE_S
            self._journal.confirm(alert, self.sink.name)


class Sender(ABC):
    """Sends alerts in one way."""

    @abstractmethod
    def send(self, alert: Alert) -> None:
        """Send an alert. Raises an exception if it was not taken."""

    def close(self) -> None:  # noqa: B027  # many senders keep nothing open
        """Close connections."""


def sender_of(sink: Sink, folder: Path, cameras: Sequence[str]) -> Sender:
    """Return the sender of a sink.

    folder: where snapshots and clips are, to which alerts name paths. cameras: names of those that
    are watched. Raises UsageError if a package is missing.
    """
    _check_package(sink)
    match sink.settings:
        case LinesSettings():
            return _Lines(sink.settings)
        case FolderSettings():
            return _Folder(sink.settings, folder)
        case WebhookSettings():
            return _Webhook(sink.settings, folder)
        case MqttSettings():
            return _Mqtt(sink, folder, cameras)
        case CommandSettings():
            return _Command(sink.command, sink.settings)
    raise AssertionError(sink.settings)


def document(alert: Alert) -> dict[str, Any]:
    """Return the JSON object of an alert."""
    return asdict(alert)


class _Lines(Sender):
    def __init__(self, settings: LinesSettings) -> None:
        self._path = settings.path

    def send(self, alert: Alert) -> None:
        line = json.dumps(document(alert), ensure_ascii=False) + "\n"
        if self._path == "-":
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        with Path(self._path).open("a", encoding="utf-8") as file:
            file.write(line)


class _Folder(Sender):
    def __init__(self, settings: FolderSettings, folder: Path) -> None:
        self._out, self._folder = Path(settings.path), folder

    def send(self, alert: Alert) -> None:
        for name in filter(None, (alert.snapshot, alert.clip)):
            source = self._folder / name
            if source.exists():  # else it was removed, by age or for room
                with committed(self._out / f"{alert.id}{source.suffix}") as part:
                    shutil.copyfile(source, part)
        write_json(self._out / f"{alert.id}.json", document(alert))


class _Webhook(Sender):
    """Posts JSON, signed as `X-Vad-Signature: sha256=HMAC(secret, timestamp + "." + body)`."""

    def __init__(self, settings: WebhookSettings, folder: Path) -> None:
        import httpx

        self._settings, self._folder = settings, folder
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, with their tokens
        self._client = httpx.Client(timeout=settings.timeout, follow_redirects=False)
        self._errors = httpx.HTTPError
        self._host = urlsplit(settings.url).hostname

    def send(self, alert: Alert) -> None:
        found = document(alert)
        if self._settings.snapshot and alert.snapshot:
            path = self._folder / alert.snapshot
            if path.exists():
                found["snapshot_jpeg"] = base64.b64encode(path.read_bytes()).decode()
        body = json.dumps(found, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": f"{alert.id} {alert.state}",
            **signature(self._settings.secret, body),
        }
        try:
            answer = self._client.post(self._settings.url, content=body, headers=headers)
        except self._errors as error:
            raise NotSent(f"{self._host}: {type(error).__name__}") from None
        if not answer.is_success:
            raise NotSent(f"{self._host} answers {answer.status_code}")

    def close(self) -> None:
        self._client.close()


def signature(secret: str | None, body: bytes) -> dict[str, str]:
    """Return the headers that prove the origin of a body; none without a secret."""
    if not secret:
        return {}
    now = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Vad-Timestamp": now, "X-Vad-Signature": f"sha256={digest}"}


class _Mqtt(Sender):
    """Publishes with QoS 1. Topics, below the prefix:

    status              online or offline, retained; the broker says offline for a lost process
    CAMERA/event        every alert, as JSON
    CAMERA/anomaly      ON while an event lasts, else OFF, retained
    CAMERA/health       ok, or what the camera suffers from, retained
    CAMERA/snapshot     JPEG of the last event, retained
    """

    def __init__(self, sink: Sink, folder: Path, cameras: Sequence[str]) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        settings = cast("MqttSettings", sink.settings)
        self._settings, self._folder = settings, folder
        self._cameras = [c for c in cameras if not sink.cameras or c in sink.cameras]
        self._client: Client = Client(CallbackAPIVersion.VERSION2)
        if settings.user:
            self._client.username_pw_set(settings.user, settings.password)
        if settings.tls:
            self._client.tls_set()
        self._client.will_set(f"{settings.prefix}/status", "offline", 1, retain=True)
        self._client.reconnect_delay_set(1, 60)
        self._is_answered, self._was_connected = threading.Event(), False
        self._refusal = ""  # why the broker refuses connections
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(settings.host, settings.port, keepalive=30)
        self._client.loop_start()

    def _on_connect(
        self, client: Client, _data: object, _flags: object, code: Any, _: object
    ) -> None:
        self._refusal = str(code) if code.is_failure else ""
        if self._refusal:
            self._is_answered.set()
            return
        prefix = self._settings.prefix
        client.publish(f"{prefix}/status", "online", 1, retain=True)
        for camera in self._cameras:
            if not self._was_connected:
                client.publish(f"{prefix}/{camera}/anomaly", "OFF", 1, retain=True)
            for topic, config in self._discovery(camera).items():
                client.publish(topic, json.dumps(config), 1, retain=True)
        self._was_connected = True
        self._is_answered.set()

    def _on_disconnect(self, *_: object) -> None:
        if not self._refusal:
            self._is_answered.clear()

    def _discovery(self, camera: str) -> dict[str, dict[str, object]]:
        """Return the configuration messages by which Home Assistant finds a camera's entities."""
        prefix, root = self._settings.prefix, self._settings.discovery
        if not root:
            return {}
        name = f"{prefix}_{camera}".replace(".", "_").replace("/", "_")
        device = {"identifiers": [name], "name": f"Camera {camera}", "manufacturer": "vad"}
        common = {"availability_topic": f"{prefix}/status", "device": device}
        entities: dict[str, dict[str, object]] = {
            "binary_sensor/{}/anomaly": {
                "name": "Anomaly",
                "state_topic": f"{prefix}/{camera}/anomaly",
                "json_attributes_topic": f"{prefix}/{camera}/event",
                "device_class": "problem",
            },
            "sensor/{}/health": {"name": "Health", "state_topic": f"{prefix}/{camera}/health"},
            "image/{}/snapshot": {"name": "Snapshot", "image_topic": f"{prefix}/{camera}/snapshot"},
        }
        return {
            f"{root}/{topic.format(name)}/config": {
                **entity,
                **common,
                "unique_id": f"{name}_{topic.rpartition('/')[2]}",
            }
            for topic, entity in entities.items()
        }

    def send(self, alert: Alert) -> None:
        broker = f"{self._settings.host}:{self._settings.port}"
        if not self._is_answered.wait(5):
            raise NotSent(f"no connection to {broker}")
        if self._refusal:
            raise NotSent(f"{broker} refuses the connection: {self._refusal}")
        top = f"{self._settings.prefix}/{alert.camera}"
        if alert.snapshot and alert.state == "open":
            path = self._folder / alert.snapshot
            if path.exists():
                self._publish(f"{top}/snapshot", path.read_bytes(), retain=True)
        self._publish(f"{top}/event", json.dumps(document(alert)), retain=False)
        if alert.state == "health":
            self._publish(f"{top}/health", alert.health, retain=True)
        elif alert.state != "test":
            self._publish(f"{top}/anomaly", "ON" if alert.state == "open" else "OFF", retain=True)

    def _publish(self, topic: str, payload: str | bytes, *, retain: bool) -> None:
        message = self._client.publish(topic, payload, 1, retain=retain)
        message.wait_for_publish(10)
        if not message.is_published():
            raise NotSent(f"{self._settings.host} confirms no message")

    def close(self) -> None:
        if self._is_answered.is_set() and not self._refusal:
            status = self._client.publish(f"{self._settings.prefix}/status", "offline", 1, True)
            status.wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()


class _Command(Sender):
    """Runs a program of this machine, with the alert as JSON on its standard input."""

    def __init__(self, command: Sequence[str], settings: CommandSettings) -> None:
        self._command, self._timeout_s = list(command), settings.timeout

    def send(self, alert: Alert) -> None:
        try:
            done = subprocess.run(
                self._command,
                input=json.dumps(document(alert)).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotSent(f"{self._command[0]} did not end") from None
        except OSError as error:
            raise NotSent(f"{self._command[0]}: {error.strerror}") from None
        if done.returncode:
            raise NotSent(f"{self._command[0]} ended with {done.returncode}")
