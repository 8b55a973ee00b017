"""One watched camera: its feed, which is opened again after every failure, zones and scores."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.features import grid_of, limits_of
from vad.stages.extract.live import Clip, Feed, Gap, Lost, Opened
from vad.stages.extract.settings import ExtractSettings
from vad.stages.infer.events import lower_level
from vad.stages.infer.scoring import where_of
from vad.stages.infer.stream.window import RecentKinds, Window
from vad.stages.infer.where import Where, view_of
from vad.stages.train.detectors.normality import Normality
from vad.stages.train.rates import REMEDY_OF_CAMERA
from vad.stages.train.run import Run
from vad.stages.train.where import made_of_cells

from ..stream import rate_warning
from .events import Events, Heard, Recorder
from .health import Health
from .settings import Camera, Zone

log = logging.getLogger("vad")

Arrays = Mapping[str, NDArray[np.generic]]  # of one snippet, [1, ...], by name
Mask = NDArray[np.bool_]  # [height, width]

GIVE_UP_S = 1e9  # a camera that was lost is never given up
LONGEST_PAUSE_S = 60.0
WINDOW = 64  # snippets that a detector sees if it looks at others than the one it scores
HELD = 0.5  # a snippet is heard if at least this share of what raises its score is not ignored
RECENT = 256  # latencies that the figures are of


@dataclass(frozen=True)
class Masks:
    """What of a picture is ignored, and what is blackened."""

    ignored: Mask
    black: Mask

    @classmethod
    def of(cls, zones: Sequence[Zone], height: int, width: int) -> Masks:
        """Return the masks of a picture of this size."""
        watched = [zone for zone in zones if zone.kind == "watch"]
        outside = ~_inside(watched, height, width) if watched else np.zeros((height, width), bool)
        hidden = [zone for zone in zones if zone.kind == "ignore"]
        black = _inside([zone for zone in hidden if zone.black], height, width)
        if any(zone.black for zone in watched):
            black |= outside
        return cls(outside | _inside(hidden, height, width), black)

    def blackened(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pictures [pictures, height, width, 3] with black pixels where asked."""
        if not self.black.any():
            return rgb
        return np.where(self.black[None, :, :, None], np.uint8(0), rgb)

    def cells(self, where: Where) -> NDArray[np.bool_]:
        """Return which cells of the picture are ignored, [rows, columns]: by their middles."""
        height, width = self.ignored.shape
        _, rows, columns = where.shares.shape
        flags = [
            self.ignored[min(int(y), height - 1), min(int(x), width - 1)] for x, y in where.middles
        ]
        return np.array(flags).reshape(rows, columns)


def _inside(zones: Sequence[Zone], height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    for zone in zones:
        points = np.array(zone.polygon) * (width, height)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask.astype(bool)


class Watched:
    """A camera that is watched, with all that is known of it."""

    def __init__(
        self,
        camera: Camera,
        run: Run,
        backbones: Sequence[tuple[Backbone, ExtractSettings]],
        per_hour: int,
    ) -> None:
        self.camera, self.run, self.backbones = camera, run, backbones
        self.name, settings = camera.name, camera.settings
        self._low = lower_level(run.threshold, run.prior)
        self.events = Events(self.name, run.name, run.threshold, self._low, settings, per_hour)
        self.recorder = Recorder(settings.before, settings.longest)
        self.health = Health(run.familiarity)
        self.n_snippets = self.n_dropped = self.n_lost = 0
        self.latencies_s: deque[float] = deque(maxlen=RECENT)
        self.has_ended = False  # a file that is not played again
        self._keys = {name: key for key, name in run.names.items()}
        self._normal = run.normal_footage
        self._window = self._new_window()
        self._kinds = RecentKinds(run.naming, WINDOW)
        self._feed: Feed | None = None
        self._fps = 0.0
        self._masks: Masks | None = None
        self._cells: NDArray[np.bool_] | None = None  # that are ignored, [rows, columns]
        self._pause_s, self._again_s = 1.0, 0.0

    def _new_window(self) -> Window[tuple[float, float]]:
        """Return a window as long as the detectors look back."""
        reach = self.run.reach
        n_snippets = WINDOW if reach is None else 1 + reach
        return Window(lambda arrays: self.run.judge(**arrays), n_snippets)

    # --- the feed

    def next_clip(self) -> tuple[Clip | None, str | None]:
        """Return the next clip that has arrived, if one has, and "lost" if the camera was lost.

        Opens the camera, at first and again after a failure.
        """
        if self._feed is None:
            if self.has_ended or time.monotonic() < self._again_s:
                return None, None
            _, made = self.backbones[0]
            self._feed = Feed(
                self.camera.source,
                n_waiting=self.camera.settings.queue,
                grid=grid_of(*self.backbones[0]),
                limits=limits_of(made),
                time_limit_s=self.camera.settings.time_limit,
                give_up_s=GIVE_UP_S,
            ).__enter__()
        try:
            event = self._feed.take()
        except VideoError as error:
            return None, self._lose(str(error))
        match event:
            case Opened():
                self._tell_rate(event)
                self.open(event.width, event.height, event.fps)
            case Clip():
                self._pause_s = 1.0
                return event, None
            case Gap("behind", n_clips):
                self.n_dropped += n_clips
            case Gap():
                self._forget()
            case Lost(why):
                return None, self._lose(why, reopen=False)
            case None if self._feed.has_ended:
                self.close()
                self.has_ended = True
        return None, None

    def open(self, width: int, height: int, fps: float) -> None:
        """Take over the size of the pictures and their rate, when the source has been opened."""
        log.info("%s: %dx%d, %g frames a second", self.name, width, height, fps)
        masks = Masks.of(self.camera.zones, height, width)
        self._fps, self._masks, self._cells = fps, masks, self._ignored_cells(masks)
        if self._cells is None and (masks.ignored & ~masks.black).any():
            log.warning("camera %s: its run tells no places: only black zones count", self.name)
        for member in self.run.members:
            if isinstance(member.detector, Normality) and self._cells is not None:
                member.detector.ignored = torch.from_numpy(self._cells.ravel())

    def _tell_rate(self, opened: Opened) -> None:
        """Log a warning if the source has a frame rate far from that of the training videos, unless
        it had the same rate before it was lost.
        """
        warning = rate_warning(self.run, opened.fps, fps_assumed=opened.fps_assumed)
        if warning and opened.fps != self._fps:
            log.warning("camera %s: %s, or %s", self.name, warning, REMEDY_OF_CAMERA)

    def _ignored_cells(self, masks: Masks) -> NDArray[np.bool_] | None:
        """Return which cells of the run's features are ignored, or None if all count."""
        made = made_of_cells(self.run.card)
        if not masks.ignored.any() or made is None or made.cells is None:
            return None
        height, width = masks.ignored.shape
        shares = np.ones((1, *made.cells.grid), np.float32)
        return masks.cells(Where(shares, view_of(made, width, height)))

    def _lose(self, why: str, *, reopen: bool = True) -> str | None:
        if self.health.state != "lost":
            self.n_lost += 1
            log.warning("line %d: camera %s: %s; trying again", self.camera.line, self.name, why)
        if reopen:
            self.close()
            self._again_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._forget()
        return self.health.lose()

    def _forget(self) -> None:
        """Forget the recent snippets, which do not belong together with those to come."""
        self._window.flush()
        self._kinds.clear()

    def close(self) -> None:
        """End the feed."""
        if self._feed is not None:
            feed, self._feed = self._feed, None
            feed.__exit__()

    # --- scores

    def seen(self, clip: Clip) -> NDArray[np.uint8]:
        """Return the pictures [frames, height, width, 3] that the networks see: black where the
        zones say so.
        """
        return self._masks.blackened(clip.rgb) if self._masks else clip.rgb

    def arrays(self, features: Mapping[int, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
        """Return the arrays [1, ...] of a clip, by name.

        features: [1, crops, dim] of the clip, by the index of the backbone. Raises VideoError if
        they are not finite.
        """
        found: dict[str, NDArray[np.generic]] = {}
        for index, (backbone, made) in enumerate(self.backbones):
            fps = self._fps / grid_of(backbone, made).sampling.dilation  # of the frames of a clip
            found |= backbone.arrays_of(features[index], fps, made.dtype)
        for name, rows in found.items():
            if not np.isfinite(rows).all():
                raise VideoError("not-finite", f"{name} is not finite")
        return found

    def score(self, clip: Clip, arrays: Arrays) -> Heard:
        """Return the score of a clip that has just arrived, and what raises it."""
        height, width = clip.rgb.shape[1:3]
        features = {key: arrays[name][0] for name, key in self._keys.items()}
        end_s = clip.arrived_s - clip.lag_s
        (scored,) = self._window.push(features, (end_s - (clip.end_s - clip.start_s), end_s))
        where = where_of(self.run, dict(arrays), width, height)
        score, box = scored.score, where.box(0) if where else None
        if where is not None and self._cells is not None:
            told = where.shares[0].sum()
            shares = np.where(self._cells, 0, where.shares)
            if told and shares.sum() < HELD * told:
                score = 0.0
            box = replace(where, shares=shares).box(0)
        self._kinds.add(self._rows(arrays), score)
        kinds = None
        if score >= self._low:
            kinds = self._kinds.newest() or scored.kinds
        known_s = time.time()
        self.n_snippets += 1
        self.latencies_s.append(known_s - end_s)
        once_in_s = self._normal.once_in_s(score) if self._normal else None
        return Heard(*scored.tag, known_s, score, once_in_s, box, kinds)

    def _rows(self, arrays: Arrays) -> NDArray[np.generic] | None:
        """Return the features [cells, dim] that name the kind of a snippet, without the cells that
        the zones ignore.
        """
        rows = self._kinds.rows_of(arrays)
        if rows is None or self._cells is None or len(rows) != self._cells.size:
            return rows
        return rows[~self._cells.ravel()]
