"""Watch cameras until told to stop: one batch of clips after the other, from all cameras."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.files import check_writable, committed
from vad.names import did_you_mean
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.decoders.video import probe
from vad.stages.extract.features import load_backbone
from vad.stages.extract.live import Clip
from vad.stages.extract.settings import ExtractSettings
from vad.stages.infer.settings import Decision
from vad.stages.infer.stream.lines import utc
from vad.stages.train.kinds import OTHER
from vad.stages.train.rates import REMEDY_OF_CAMERA
from vad.stages.train.run import Run

from ..project import open_run
from ..stream import backbones_of, rate_warning
from .camera import Watched
from .events import Alert, Journal, alert_id, prune, to_jpeg, write_clip
from .health import Figure, Metrics, host_and_port
from .reading import read_watch_file
from .settings import Camera, WatchFile
from .sinks import Delivery, check_sink, wants

log = logging.getLogger("vad")

IDLE_S = 0.02  # pause if no camera has a clip
PRUNE_EVERY_S = 60.0
SEEN_EVERY_S = 1.0  # between two notes that an event is still seen
TEST_S = 30.0  # longest time to wait for the sinks to confirm a test alert
MEDIA = "events"  # folder of snapshots and clips
LOCK = ".lock"  # changed whenever an event is seen, so that its end is known after a kill


def watch(
    config: str | Path = "cameras.toml",
    *,
    stop: threading.Event | None = None,
    on_start: Callable[[], None] | None = None,
    check: bool = False,
    test_alert: bool = False,
) -> None:
    """`vad.watch`: watch the cameras of a file until `stop` is set, or all files have ended."""
    file = read_watch_file(Path(config))
    for mistake in file.mistakes:
        log.error("%s: %s; the camera %s is left out", file.path, mistake, mistake.camera)
    if check:
        n_unusable = _count_unusable_settings(file) + _count_unusable_runs(file)
        if n_mistakes := len(file.mistakes) + n_unusable:
            raise UsageError(f"{file.path}: {n_mistakes} mistake{'s' * (n_mistakes > 1)}")
        return
    folder = Path(file.settings.folder)
    if test_alert:
        _test(file)
        return
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        seen_s = stack.enter_context(_claimed(folder))
        journal = Journal(folder)
        stack.callback(journal.close)
        device = str(choose_device(file.settings.device))
        cameras = _opened(file, device)
        _count_unknown_kinds(file, {camera.name: camera.run.kinds for camera in cameras})
        watcher = Watcher(file, cameras, journal, folder, stack)
        if on_start:
            on_start()
        watcher.end_left_open(seen_s)
        watcher.run(stop or threading.Event())


def _run_of(camera: Camera, device: str) -> Run:
    """Open the run of a camera. Raises UsageError if it cannot be used."""
    settings = camera.settings
    decision = Decision(camera=settings.camera, false_alarms=settings.false_alarms)
    return open_run(settings.run, device, settings.threshold, decision)[0]


def _count_unusable_settings(file: WatchFile) -> int:
    """Log each setting of all cameras that the start would refuse, and each sink that would fail,
    and return their number.
    """
    checks: list[tuple[str, Callable[[Any], object], Any]] = [
        ("", choose_device, file.settings.device),
        ("", check_writable, Path(file.settings.folder)),
        ("", host_and_port, file.settings.metrics),
        *((f"sink {sink.name}: ", check_sink, sink) for sink in file.sinks),
    ]
    n_unusable = 0
    for where, check, setting in checks:
        try:
            if setting:
                check(setting)
        except UsageError as error:
            log.error("%s: %s%s", file.path, where, error)
            n_unusable += 1
    return n_unusable


def _count_unusable_runs(file: WatchFile) -> int:
    """Log each camera whose run cannot be used, and each kind that no run tells, and return their
    number.

    Also logs a warning for each file with another frame rate than the training videos.
    """
    n_unusable, kinds = 0, {}
    for camera in file.cameras:
        try:
            run = _run_of(camera, "cpu")
        except UsageError as error:
            log.error("%s: line %d: camera %s: %s", file.path, camera.line, camera.name, error)
            n_unusable += 1
            continue
        kinds[camera.name] = run.kinds
        if warning := _rate_warning_of_file(camera, run):
            log.warning("camera %s: %s, or %s", camera.name, warning, REMEDY_OF_CAMERA)
    return n_unusable + _count_unknown_kinds(file, kinds)


def _rate_warning_of_file(camera: Camera, run: Run) -> str:
    """Return the warning of `rate_warning` for a camera that is a file; "" for others, whose frame
    rate is known when they are opened, and if the file cannot be read.
    """
    if camera.source.kind != "file":
        return ""
    try:
        info = probe(Path(camera.source.address))
    except VideoError:
        return ""
    return rate_warning(run, float(info.fps), fps_assumed=info.fps_assumed)


def _opened(file: WatchFile, device: str) -> list[Watched]:
    """Open the runs of all cameras; cameras with the same features share a backbone.

    A camera whose run cannot be used is told and left out. Raises UsageError if none is left.
    """
    loaded: dict[ExtractSettings, Backbone] = {}

    def load(settings: ExtractSettings) -> Backbone:
        if settings not in loaded:
            loaded[settings] = load_backbone(settings)
        return loaded[settings]

    found, reasons = [], []
    for camera in file.cameras:
        try:
            run = _run_of(camera, device)
            backbones = backbones_of(run, {"device": device}, load)
        except UsageError as error:
            reasons.append(f"{file.path}: line {camera.line}: camera {camera.name}: {error}")
            log.error("%s", reasons[-1])
            continue
        found.append(Watched(camera, run, backbones, file.settings.alerts_per_hour))
    if not found:
        raise UsageError(reasons[0])
    return found


def _count_unknown_kinds(file: WatchFile, kinds: Mapping[str, Sequence[str]]) -> int:
    """Log the kinds of sinks that no run of their cameras tells, with their lines, and return their
    number.

    kinds: those that the run of each usable camera tells, by the name of the camera.
    """
    n_unknown = 0
    for sink in file.sinks:
        told = [kinds[name] for name in sink.cameras or kinds if name in kinds]
        if not told:
            continue
        known = sorted({OTHER, *chain(*told)})
        for kind in sorted(sink.kinds.difference(known)):
            rest = did_you_mean(kind, known) or f"they tell: {', '.join(known)}"
            log.error(
                "%s: line %d: sink %s: no run of its cameras tells the kind %r, %s",
                *(file.path, sink.line, sink.name, kind, rest),
            )
            n_unknown += 1
    return n_unknown


@contextmanager
def _claimed(folder: Path) -> Iterator[float]:
    """Keep other processes from writing into the same folder; yield the Unix time at which one
    before last saw an event. Raises UsageError if another process writes into it.
    """
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process watches into {folder}", hint="end it, or name another folder"
            ) from None
        yield os.fstat(file.fileno()).st_mtime


def _deliveries(
    file: WatchFile, journal: Journal, folder: Path, stack: ExitStack
) -> list[Delivery]:
    """Start the threads of all sinks, which end with the stack."""
    names = [camera.name for camera in file.cameras]
    deliveries = [Delivery(sink, journal, folder, names) for sink in file.sinks]
    journal.forget(sink.name for sink in file.sinks)
    for delivery in deliveries:
        delivery.start()
        stack.callback(delivery.stop)
    return deliveries


def _test(file: WatchFile) -> None:
    """Send a test alert to all sinks, beside a process that may be watching. Raises UsageError if
    one does not confirm it in time.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vad-")))
        journal = Journal(folder)
        stack.callback(journal.close)
        waiting = deliveries = _deliveries(file, journal, folder, stack)
        now_s, until_s = time.time(), time.monotonic() + TEST_S
        for camera in file.cameras:
            name = f"test-{alert_id(camera.name, now_s)}"
            alert = Alert(name, "test", camera.name, "", utc(now_s))
            journal.add(alert, [sink.name for sink in file.sinks])
        while waiting and time.monotonic() < until_s:
            waiting = [d for d in waiting if journal.n_pending(d.sink.name)]
            time.sleep(IDLE_S)
    for delivery in deliveries:
        ok = delivery not in waiting
        log.info("sink %s: %s", delivery.sink.name, "told" if ok else delivery.trouble or "waits")
    if waiting:
        names = ", ".join(delivery.sink.name for delivery in waiting)
        raise UsageError(f"not told in {TEST_S:g} s: {names}", hint="the log says why")


class Watcher:
    """Watches cameras and writes what is due to the journal."""

    def __init__(
        self,
        file: WatchFile,
        cameras: Sequence[Watched],
        journal: Journal,
        folder: Path,
        stack: ExitStack,
    ) -> None:
        self._file, self._cameras = file, cameras
        self._journal, self._folder = journal, folder
        self._started_s, self._media_bytes = time.time(), 0
        self._pruned_s = self._seen_s = 0.0  # when that was last done, by the monotonic clock
        self._deliveries = _deliveries(file, journal, folder, stack)
        self._writer = ThreadPoolExecutor(1, "clips")  # writes clips, then tells their events
        stack.callback(self._writer.shutdown)
        if file.settings.metrics:
            metrics = Metrics(file.settings.metrics, self.figures)
            log.info("figures at http://%s/metrics", metrics.address)
            stack.callback(metrics.close)
        for camera in cameras:
            stack.callback(camera.close)

    def end_left_open(self, seen_s: float) -> None:
        """Tell the end of the events that a killed process left open, and last saw at a Unix
        time.
        """
        for alert in self._journal.left_open():
            end = max(alert.start, utc(seen_s))
            self._tell(replace(alert, state="closed", end=end, ended_by="restart"))

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set, or all sources are files that have ended."""
        while not stop.is_set() and not all(camera.has_ended for camera in self._cameras):
            batch = [(c, clip) for c in self._cameras if (clip := self._next(c)) is not None]
            if batch:
                self._score(batch)
            else:
                stop.wait(IDLE_S)
            if time.monotonic() - self._pruned_s > PRUNE_EVERY_S:
                self._pruned_s = time.monotonic()
                self._writer.submit(self._prune)
        for camera in self._cameras:
            self._end(camera, camera.events.end("stopped"))

    def _next(self, watched: Watched) -> Clip | None:
        """Return the next clip of a camera, if one has arrived whose score is wanted."""
        clip, lost = watched.next_clip()
        if lost:
            self._tell_health(watched, lost)
            self._end(watched, watched.events.end("lost"))
        if clip is None:
            return None
        end_s = clip.arrived_s - clip.lag_s
        if news := watched.health.see(clip.rgb, end_s):
            self._tell_health(watched, news)
        watched.recorder.add(clip.rgb, end_s - (clip.end_s - clip.start_s), end_s)
        if watched.camera.is_on(datetime.fromtimestamp(end_s)):  # of this place
            return clip
        self._end(watched, watched.events.end("hours"))
        return None

    def _score(self, batch: Sequence[tuple[Watched, Clip]]) -> None:
        """Compute the features of clips, those of one backbone together, and hear their scores."""
        found: list[dict[int, NDArray[np.float32]]] = [{} for _ in batch]
        wanted: dict[Backbone, list[tuple[int, int]]] = {}
        for position, (watched, _) in enumerate(batch):
            for index, (backbone, _) in enumerate(watched.backbones):
                wanted.setdefault(backbone, []).append((position, index))
        pictures = [watched.seen(clip) for watched, clip in batch]
        for backbone, places in wanted.items():
            features = backbone.submit([pictures[position] for position, _ in places]).result()
            for row, (position, index) in enumerate(places):
                found[position][index] = features[row : row + 1]
        for (watched, clip), features_of in zip(batch, found, strict=True):
            try:
                arrays = watched.arrays(features_of)
            except VideoError as error:
                log.warning("%s: %s", watched.name, error)
                continue
            watched.health.see_features(arrays)
            for alert in watched.events.hear(watched.score(clip, arrays)):
                if alert.state == "open":
                    self._begin(watched, clip, alert)
                else:
                    self._end(watched, [alert])
            if watched.events.open_id and time.monotonic() - self._seen_s > SEEN_EVERY_S:
                self._seen_s = time.monotonic()
                with suppress(OSError):  # of a disk that takes nothing
                    os.utime(self._folder / LOCK)

    # --- alerts

    def _begin(self, watched: Watched, clip: Clip, alert: Alert) -> None:
        name: str | None = f"{MEDIA}/{alert.id}.jpg"
        try:
            with committed(self._folder / f"{MEDIA}/{alert.id}.jpg") as part:
                part.write_bytes(to_jpeg(clip.rgb[len(clip.rgb) // 2], alert.box))
        except OSError as error:
            log.warning("%s: no snapshot: %s", alert.id, error)
            name = None
        watched.events.add_snapshot(name)
        watched.recorder.is_on = True
        self._tell(replace(alert, snapshot=name))

    def _end(self, watched: Watched, alerts: Sequence[Alert]) -> None:
        """Write the clips of events that have ended, in another thread, and tell them then."""
        for alert in alerts:
            self._writer.submit(self._write_and_tell, alert, watched.recorder.take())
        watched.recorder.is_on = watched.events.open_id is not None

    def _write_and_tell(self, alert: Alert, pictures: list[tuple[float, bytes]]) -> None:
        name: str | None = f"{MEDIA}/{alert.id}.mp4"
        try:
            write_clip(self._folder / f"{MEDIA}/{alert.id}.mp4", pictures)
        except Exception as error:  # the event is told without its clip, for whatever reason
            log.warning("%s: no clip: %s", alert.id, error)
            name = None
        self._tell(replace(alert, clip=name))

    def _tell_health(self, watched: Watched, state: str) -> None:
        log.warning("camera %s: %s", watched.name, state)
        now_s = time.time()
        name = f"{alert_id(watched.name, now_s)}-{state}"
        start = utc(now_s)
        self._tell(Alert(name, "health", watched.name, watched.run.name, start, health=state))

    def _tell(self, alert: Alert) -> None:
        if alert.state in ("open", "closed"):
            says = "begins" if alert.state == "open" else "has ended"
            log.info(
                "camera %s: an event %s, highest score %.3f (threshold %.3f)",
                *(alert.camera, says, alert.score, alert.threshold),
            )
        self._journal.add(alert, [s.name for s in self._file.sinks if wants(s, alert)])

    def _prune(self) -> None:
        settings = self._file.settings
        self._media_bytes = prune(
            self._folder / MEDIA, settings.clips_gb * 1e9, settings.clips_days * 86_400
        )

    # --- figures

    def figures(self) -> Iterator[Figure]:
        """Yield the figures for Prometheus."""
        yield "vad_start_time_seconds", "Unix time of the start", {}, self._started_s
        yield "vad_media_bytes", "size of snapshots and clips", {}, self._media_bytes
        yield "vad_given_up_total", "alerts that were given up", {}, self._journal.n_given_up
        cameras = [({"camera": c.name}, c) for c in self._cameras]
        for labels, c in cameras:
            yield "vad_up", "1 if pictures come", labels, c.health.state != "lost"
        for labels, c in cameras:
            state = {**labels, "state": c.health.state}
            yield "vad_health", "what the camera suffers from", state, 1
        for labels, c in cameras:
            yield "vad_snippets_total", "snippets scored", labels, c.n_snippets
        for labels, c in cameras:
            yield "vad_dropped_total", "clips dropped, because they waited", labels, c.n_dropped
        for labels, c in cameras:
            yield "vad_lost_total", "times that the camera was lost", labels, c.n_lost
        for labels, c in cameras:
            yield "vad_events_total", "events, told or not", labels, c.events.n_events
        for labels, c in cameras:
            for reason, n in c.events.suppressed.items():
                why = {**labels, "reason": reason}
                yield "vad_suppressed_total", "events that were not told", why, n
        for labels, c in cameras:
            for quantile in (0.5, 0.95, 1.0):
                if recent := list(c.latencies_s):
                    value = float(np.quantile(recent, quantile))
                    yield (
                        "vad_latency_seconds",
                        "from the last frame of a snippet to its score",
                        {**labels, "quantile": f"{quantile:g}"},
                        value,
                    )
        for d in self._deliveries:
            yield "vad_sent_total", "alerts sent", {"sink": d.sink.name}, d.n_sent
        for d in self._deliveries:
            yield "vad_failed_total", "tries that failed", {"sink": d.sink.name}, d.n_failed
        for d in self._deliveries:
            waiting = self._journal.n_pending(d.sink.name)
            yield "vad_pending", "alerts that wait", {"sink": d.sink.name}, waiting
