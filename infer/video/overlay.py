"""The overlay: a video with its score curve below it, and its events marked in the picture.

+---------------------------+
|  the picture, framed in   |
|  red while an event lasts |   and tinted where the score comes from
+------+--------------------+
| 0.93 |  _/\\____|____/\\_    |   score, bar and clock; the whole curve, bright up to the
| 0:12 |                    |   present and dim after it, with the threshold dashed
+------+--------------------+
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vad.files import committed

from ..scores import VideoScores
from ..times import clock
from .heat import ALARM, Heat
from .mp4 import Mp4Writer, even
from .source import Picture, Sound, Viewer

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

Colour = tuple[int, int, int]
GROUND: Colour = (19, 22, 27)
INK: Colour = (232, 234, 237)
QUIET: Colour = (130, 137, 147)
CALM: Colour = (86, 156, 214)  # colour of scores below the threshold
DIM = 0.38  # brightness of the curve after the current time


class Overlay(Viewer):
    """A viewer that writes the video with its score panel as MP4, with original times and sound."""

    def __init__(self, path: Path, scores: VideoScores) -> None:
        self._path, self._scores = path, scores
        self._panel = OverlayPanel(scores, scores.record.width)

    @contextmanager
    def opened(self, sound: Sound) -> Iterator[None]:
        """Implement `Viewer.opened`. The file appears when the context is left without an error."""
        record = self._scores.record
        size = record.width, record.height + self._panel.height_px
        with committed(self._path) as part:
            self._mp4 = Mp4Writer(part, size=size, fps=record.fps, sound=sound)
            with self._mp4:
                yield

    def see(self, number: int, picture: Picture) -> None:
        """Write a frame with the panel below it."""
        whole = self._panel.below(picture, number)
        self._mp4.add(whole, float(self._scores.times[number]))

    def hear(self, frame: AudioFrame, time_s: float) -> None:
        """Write an audio frame."""
        self._mp4.hear(frame, time_s)


class OverlayPanel:
    """Draws the score panel below the frames of a video, and marks events in the frames."""

    def __init__(self, scores: VideoScores, width_px: int) -> None:
        self._scores = scores
        self.height_px = even(min(150, max(54, width_px * 0.13)))
        self._text_px = max(10, round(self.height_px * 0.27))
        pad = max(4, self.height_px // 10)
        wanted_px = round(self._text_px * 4.4) + 2 * pad  # for score, bar and clock
        self._block_px = min(wanted_px, width_px // 2)
        self._plot_px = max(1, width_px - self._block_px - pad)
        self._pad_px, self._width_px = pad, width_px
        self._heat = Heat(scores)
        self._starts = [event.start_frame for event in scores.events]
        self._bright = self._drawn()
        self._dim = (GROUND + (self._bright.astype(np.float32) - GROUND) * DIM).astype(np.uint8)

    def below(self, picture: Picture, number: int) -> Picture:
        """Add the panel to a frame: uint8 [height, width, 3] -> [height + height_px, width, 3]."""
        strip = self._dim.copy()
        shown = self._x(float(self._scores.times[number]))
        strip[:, :shown] = self._bright[:, :shown]
        strip[self._pad_px : -self._pad_px, shown : shown + max(1, self._width_px // 640)] = INK
        strip[:, : self._block_px] = self._block(number)
        whole = np.concatenate([self._heat.on(picture, number), strip])
        if caption := self._event_caption(number):
            self._mark(whole[: len(picture)], caption)
        return whole

    def _x(self, time_s: float) -> int:
        share = time_s / max(self._scores.record.duration_s, 1e-6)
        return self._block_px + min(self._plot_px - 1, int(share * self._plot_px))

    def _y(self, score: float) -> int:
        room_px = self.height_px - 2 * self._pad_px - 1
        return self._pad_px + round((1 - score) * room_px)

    def _drawn(self) -> NDArray[np.uint8]:
        """Draw the curve of the whole video; every column shows the highest score of its time."""
        strip = np.full((self.height_px, self._width_px, 3), GROUND, np.uint8)
        heights = np.zeros(self._width_px)  # highest score per column
        columns = np.array([self._x(t) for t in self._scores.times])
        np.maximum.at(heights, columns, self._scores.frames)
        gaps = np.setdiff1d(np.arange(columns[0], self._block_px + self._plot_px), columns)
        # if the video has fewer frames than the strip has columns
        nearest = columns[np.searchsorted(columns, gaps) - 1]
        heights[gaps] = heights[nearest]
        bottom = self._y(0) + 1
        for x in range(self._block_px, self._block_px + self._plot_px):
            colour = ALARM if heights[x] >= self._scores.threshold else CALM
            strip[self._y(heights[x]) : bottom, x] = colour
        threshold = self._y(self._scores.threshold)
        plot = np.arange(self._block_px, self._block_px + self._plot_px)
        strip[threshold, plot[plot % 8 < 4]] = QUIET
        image = Image.fromarray(strip)
        draw, font = ImageDraw.Draw(image), _font(max(8, round(self._text_px * 0.6)))
        for score, anchor in ((0, "ls"), (1, "lt")):
            draw.text((plot[0] + 3, self._y(score)), f"{score:g}", INK, font, anchor=anchor)
        return np.array(image)

    def _block(self, number: int) -> NDArray[np.uint8]:
        """Draw the left part of the panel for a frame: score, bar and clock."""
        image = Image.new("RGB", (self._block_px, self.height_px), GROUND)
        draw, pad = ImageDraw.Draw(image), self._pad_px
        score = float(self._scores.frames[number])
        colour = ALARM if score >= self._scores.threshold else CALM
        draw.text((pad, pad), f"{score:.2f}", colour, _font(round(self._text_px * 1.3)))
        time = clock(float(self._scores.times[number]))
        draw.text((pad, self.height_px - pad), time, QUIET, _font(self._text_px), anchor="ls")
        right, bar = self._block_px - pad - 1, max(3, self._text_px // 3)
        low, high = self._y(0), self._y(1)
        draw.rectangle((right - bar, high, right, low), fill=_faded(QUIET))
        draw.rectangle((right - bar, self._y(score), right, low), fill=colour)
        return np.asarray(image)

    def _event_caption(self, number: int) -> str:
        """Return the text to show in a frame during an event; empty outside events."""
        index = bisect.bisect_right(self._starts, number) - 1
        if index < 0 or number >= self._scores.events[index].end_frame:
            return ""
        return f"event {index + 1}  {self._scores.caption_at(number)}".rstrip()

    def _mark(self, picture: Picture, caption: str) -> None:
        """Draw a border and the caption of an event on the frame, in place."""
        edge = max(2, self._width_px // 200)
        for side in (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:]):
            side[:] = ALARM
        font = _font(max(10, round(self._text_px * 0.8)))
        words, room = " ".join(caption.split()), self._width_px - 6 * edge
        while len(words) > 1 and font.getlength(words) > room:
            words = words[:-2].rstrip() + "…"
        height = min(len(picture), round(self._text_px * 1.5))
        label = Image.new(
            "RGB", (min(self._width_px, int(font.getlength(words)) + 6 * edge), height)
        )
        ImageDraw.Draw(label).text((3 * edge, height / 2), words, INK, font, anchor="lm")
        picture[:height, : label.width] = np.asarray(label)


def _faded(colour: Colour) -> Colour:
    red, green, blue = (round(g + (c - g) * DIM) for c, g in zip(colour, GROUND, strict=True))
    return red, green, blue


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    from matplotlib.font_manager import findfont  # on first use: it takes a third of a second

    return ImageFont.truetype(findfont("DejaVu Sans"), size_px)
