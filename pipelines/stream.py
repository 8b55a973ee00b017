"""Score a live source: yield one line per event for as long as the source lasts.

    feed (thread, process) --clips--> backbone --features--> window, detector --scores--> lines

Clips are computed one at a time, because latency matters more than throughput. Memory use does not
grow with time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.config import take
from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.features import (
    LoadBackbone,
    grid_of,
    limits_of,
    load_backbone,
    provenance_of,
)
from vad.stages.extract.live import Clip, Event, Feed, Gap, LiveSource, Lost, Opened, find_source
from vad.stages.extract.records import notes_on_frames
from vad.stages.extract.settings import ExtractSettings
from vad.stages.infer.events import lower_level
from vad.stages.infer.scoring import where_of
from vad.stages.infer.settings import Decision
from vad.stages.infer.stream.lines import SCHEMA, Line, Moment, Tally, opened, utc
from vad.stages.infer.stream.settings import StreamSettings
from vad.stages.infer.stream.window import Features, RecentKinds, Scored, Window
from vad.stages.infer.times import timecode
from vad.stages.infer.where import Box
from vad.stages.train.kinds import KindOfEvent
from vad.stages.train.rates import GUESS, REMEDY_OF_CAMERA
from vad.stages.train.run import Run
from vad.version import VERSION

from .features_for_run import check_provenance, extracted, settings_of
from .project import open_run

log = logging.getLogger("vad")

REPORT_EVERY_S = 10.0  # seconds between two reports on stderr

# a snippet, and the features [cells, dim] by which its kind is named; None if nothing names it
_Tag = tuple[Moment, NDArray[np.generic] | None]


def stream(
    source: str,
    detector: str | Path | None = None,
    *,
    threshold: float | None = None,
    stop: threading.Event | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Iterator[Line]:
    """Watch a source with a trained run: yield lines of the schema `vad.stream/1` as they are made.

    source: a file, the number of a camera, or an address rtsp://... threshold: by default that of
    the run. `settings` are those of `StreamSettings`, and those of `ExtractSettings` that do not
    change features, such as `device`. When the event `stop` is set, the stream ends with its last
    line.

    Raises UsageError for wrong input. Raises VideoError if the source cannot be opened or is given
    up; the last line is yielded before.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    decision = take(Decision, given, where="stream")
    chosen = take(StreamSettings, given, where="stream")
    watched = find_source(source, speed=chosen.speed, loop=chosen.loop)
    if watched.kind == "network" and given.get("offline"):
        raise UsageError(
            f"--offline opens no network connection, and {watched.shown} needs one",
            hint="leave --offline out: weights that are on this machine are not fetched again",
        )
    given["device"] = str(choose_device(given.get("device", "auto")))  # logged once
    run, _ = open_run(detector, given["device"], threshold, decision)
    watch = _Watch(watched, run, backbones_of(run, given), chosen)
    return watch.lines(stop or threading.Event(), quiet=quiet)


def backbones_of(
    run: Run, given: Mapping[str, Any], load: LoadBackbone = load_backbone
) -> list[tuple[Backbone, ExtractSettings]]:
    """Return the backbones whose features a run reads, each with its settings.

    given: extraction settings that do not change features, such as `device`. Raises UsageError if
    the run reads captions, or if the features would differ from those that it was trained on.
    """
    if run.card.of_kind("text"):
        raise UsageError(
            f"{run.path} reads captions, and a stream has none",
            hint="watch with a run trained on visual features",
        )
    backbones = []
    for stream_ in extracted(run):
        made = settings_of(stream_, run, given)
        backbones.append((backbone := load(made), made))
        if backbone.recipe.window > CLIP_FRAMES:
            raise UsageError(
                f"{run.path} reads {stream_.name}, whose network looks at {backbone.recipe.window} "
                f"frames at once, and a stream is scored {CLIP_FRAMES} at a time",
                hint="watch with a run trained on other features",
            )
        check_provenance(stream_, run, provenance_of(*backbones[-1]))
    return backbones


def rate_warning(run: Run, fps: float, *, fps_assumed: bool) -> str:
    """Return a warning that the frame rate of a source is far from that of the training videos; ""
    if it is not, or if one of them is not known.
    """
    card = run.card
    if card.training_fps is None or fps_assumed:
        return ""
    words = card.training_fps.differing(fps, card.camera.name if card.camera else "")
    return f"{words}: {GUESS}" if words else ""


class _Watch:
    """The scoring of one live source by one trained run."""

    def __init__(
        self,
        source: LiveSource,
        run: Run,
        backbones: Sequence[tuple[Backbone, ExtractSettings]],
        settings: StreamSettings,
    ) -> None:
        self._source, self._run, self._backbones = source, run, backbones
        self._settings, self._normal = settings, run.normal_footage
        self._grid = grid_of(*backbones[0])
        self._fps = 0.0  # known when the source is open
        self._has_warned = False  # of its frame rate
        self._keys = {name: key for key, name in run.names.items()}
        self._window: Window[_Tag] = Window(
            lambda arrays: run.judge(**arrays), settings.window, settings.lookahead, run.reach
        )
        self._kinds = RecentKinds(run.naming, settings.window)
        self._low = lower_level(run.threshold, run.prior)
        self._event: KindOfEvent | None = None  # under way
        self._tally = Tally(source.is_live)

    def lines(self, stop: threading.Event, *, quiet: bool) -> Iterator[Line]:
        """Yield all lines, from the first of type `start` to the last of type `end`."""
        _, made = self._backbones[0]
        feed = Feed(
            self._source,
            n_waiting=self._settings.queue,
            grid=self._grid,
            limits=limits_of(made),
            time_limit_s=self._settings.time_limit,
            give_up_s=self._settings.give_up,
        )
        report = _Report(quiet=quiet)
        yield self._start()
        try:
            with feed:
                for event in feed.events(stop):
                    yield from self._of(event)
                    report.tell(self._tally)
                yield from self._last_scores()
        except VideoError as error:
            self._count_frames(feed)
            yield self._tally.end(str(error))
            raise
        finally:
            report.tell(self._tally, last=True)
        self._count_frames(feed)
        yield self._tally.end("stopped" if stop.is_set() else "the source ended")

    def _count_frames(self, feed: Feed) -> None:
        """Take over the counts of an ended feed, and log what the user should know of them."""
        self._tally.n_jumps, self._tally.n_rescaled = feed.n_jumps, feed.n_rescaled
        for note in notes_on_frames(feed.n_jumps, feed.n_rescaled):
            log.warning("%s: %s", self._source.shown, note)

    def _start(self) -> Line:
        return {
            "schema": SCHEMA,
            "type": "start",
            "generator": f"vad {VERSION}",
            "source": self._source.shown,
            "detector": self._run.name,
            "threshold": self._run.threshold,
            "kinds": list(self._run.kinds),
            "prior": self._run.prior,
            "normal_footage_s": self._normal and self._normal.seconds,
            "clip_frames": CLIP_FRAMES,
            "dilation": self._grid.sampling.dilation,
            "stride": self._grid.sampling.stride,
            "window_snippets": self._settings.window,
            "lookahead_snippets": self._settings.lookahead,
            "queue_clips": self._settings.queue if self._source.is_live else None,
            "wall": utc(time.time()),
        }

    def _of(self, event: Event) -> Iterator[Line]:
        """Yield the lines that one event of the feed causes."""
        match event:
            case Opened():
                self._fps = float(event.fps)
                warning = rate_warning(self._run, self._fps, fps_assumed=event.fps_assumed)
                if warning and not self._has_warned:
                    log.warning("%s: %s, or %s", self._source.shown, warning, REMEDY_OF_CAMERA)
                    self._has_warned = True
                yield opened(**asdict(event), warning=warning)
            case Clip():
                yield from self._scores(self._scored(event))
            case Gap(reason, n_clips, n_frames, start_s, end_s):
                if reason == "lost":  # frames before and after the gap do not belong together
                    yield from self._last_scores()
                yield self._tally.gap(reason, n_clips, n_frames, start_s, end_s)
            case Lost(why, pause_s):
                yield self._tally.lost(why, pause_s)

    def _arrays(self, clip: Clip) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of a clip by name, each [1, ...], in the dtype of the training
        features.

        Raises VideoError if they are not finite.
        """
        found: dict[str, NDArray[np.generic]] = {}
        fps = self._fps / self._grid.sampling.dilation  # of the frames of a clip
        for backbone, made in self._backbones:
            arrays = backbone.arrays_of(backbone(clip.rgb[None]), fps, made.dtype)
            for name, rows in arrays.items():
                if not np.isfinite(rows).all():
                    raise VideoError("not-finite", f"{name} is not finite in {made.dtype}")
            found |= arrays
        return found

    def _scored(self, clip: Clip) -> list[Scored[_Tag]]:
        """Return the scores that are due when a clip has arrived."""
        arrays, (height, width) = self._arrays(clip), clip.rgb.shape[1:3]
        where = where_of(self._run, arrays, width, height)
        features: Features = {key: arrays[name][0] for name, key in self._keys.items()}
        moment = _moment(clip, where.box(0) if where else None)
        return self._window.push(features, (moment, self._kinds.rows_of(arrays)))

    def _last_scores(self) -> Iterator[Line]:
        """Yield the lines of the snippets not scored yet, when the source ends or is lost."""
        yield from self._scores(self._window.flush())
        self._kinds.clear()
        self._event = None

    def _scores(self, due: list[Scored[_Tag]]) -> Iterator[Line]:
        for scored in due:
            (moment, rows), score = scored.tag, scored.score
            self._kinds.add(rows, score)
            threshold = self._run.threshold
            if score >= (self._low if self._event else threshold):
                self._event = self._event or KindOfEvent()
                self._event.add(self._kinds.newest() or scored.kinds)
            else:
                self._event = None
            once_in_s = self._normal.once_in_s(score) if self._normal else None
            kind = self._event.told if self._event else ("", None)
            yield self._tally.score(moment, score, scored.n_seen, threshold, once_in_s, kind)


def _moment(clip: Clip, box: Box | None) -> Moment:
    return Moment(
        snippet=clip.index,
        start_frame=clip.first_frame,
        end_frame=clip.first_frame + clip.n_frames,
        start_s=clip.start_s,
        end_s=clip.end_s,
        arrived_s=clip.arrived_s,
        lag_s=clip.lag_s,
        n_jumps=clip.n_jumps,
        box=box,
    )


class _Report:
    """Logs the position and the latency of the stream every ten seconds."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._told_s = quiet, time.monotonic()
        self._n_snippets = self._n_dropped = 0  # at the last report

    def tell(self, tally: Tally, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if self._quiet or not (last or now_s - self._told_s >= REPORT_EVERY_S):
            return
        latency = tally.latency()
        pace = f"{tally.end_s / max(tally.wall_s, 1e-3):.2f} x real time"
        if latency:
            pace = f"latency {latency['median']} s, 95 % within {latency['p95']} s"
        log.info("%s: %d snippets scored, %s", timecode(tally.end_s), tally.n_snippets, pace)
        dropped, took_s = tally.n_dropped - self._n_dropped, now_s - self._told_s
        if dropped and took_s > 1:  # rates over a shorter time are meaningless
            n_clips = dropped + tally.n_snippets - self._n_snippets
            log.warning(
                "behind: %d of %d clips dropped; the source gives %.2f clips/s, %.2f/s are scored",
                *(dropped, n_clips, n_clips / took_s, (n_clips - dropped) / took_s),
            )
        self._told_s, self._n_snippets, self._n_dropped = now_s, tally.n_snippets, tally.n_dropped
