"""`vad search`: the moments of stored videos that are like a sentence, or like another moment."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vad.errors import UsageError, VideoError
from vad.files import committed
from vad.stages.extract.words import words_of
from vad.stages.infer.times import timecode
from vad.stages.infer.words import RANDOM, Moment, search_rows, vector_like
from vad.store import FeatureStore
from vad.store.backends import refuse_connection

from .video_source import video_source_of

log = logging.getLogger("vad")

THUMBNAIL = (240, 160)  # width and height of a picture of the contact sheet, pixels
COLUMNS = 4
LINE_PX = 28  # below each picture, for rank, time and video


def search(
    store: str | Path,
    text: str | None = None,
    *,
    like: str | None = None,
    visual: str | None = None,
    weights: str | None = None,
    top: int = 20,
    offline: bool = False,
) -> tuple[list[Moment], str]:
    """Return the moments, best first, and a warning to show beside them, or "".

    text: a sentence, for features of an image-text backbone. like: VIDEO@SECONDS, for any
    features. Raises UsageError unless one of the two is given and fits the features.
    """
    if (text is None) == (like is None):
        raise UsageError(
            "nothing to search, or two things at once",
            hint='give "a sentence" or --like VIDEO@12.5',
        )
    if top < 1:
        raise UsageError(f"--top is {top}, at least 1 is needed")
    refuse_connection(store, offline=offline)
    opened = FeatureStore.open(store)
    array = opened.resolve("visual", visual)
    made = opened.provenance(array)
    videos = opened.having(array)
    is_random = bool(made and made.weights and made.weights.random)
    but = None
    if text is not None:
        name = made.backbone if made and made.backbone else array.partition("/")[2]
        stored = made.weights.name if made and made.weights else None
        words = words_of(name, weights or stored, offline=offline)
        (vector,) = words.vectors([text])
    else:
        video, second = _place(like or "", videos)
        vector, snippet = vector_like(opened, array, video, second)
        but = (video, snippet)
    moments = search_rows(opened, array, vector, videos, top=top, but=but)
    return moments, RANDOM if is_random else ""


def _place(like: str, videos: Sequence[str]) -> tuple[str, float]:
    """Return the video and the second of VIDEO@SECONDS. Raises UsageError for another form."""
    name, at, second = like.rpartition("@")
    try:
        seconds = float(second)
    except ValueError:
        at = ""
        seconds = 0.0
    if not at:
        raise UsageError(f"--like {like}: write VIDEO@SECONDS, such as cam1/x@12.5")
    found = [video for video in videos if name in (video, video.rpartition("/")[2])]
    if len(found) != 1:
        raise UsageError(f"--like {like}: {len(found)} stored videos are called {name!r}")
    return found[0], seconds


def contact_sheet(store: str | Path, moments: Sequence[Moment], path: Path, warning: str) -> Path:
    """Write a JPEG with a picture of every moment; one whose video is gone is left grey.

    warning: written across the sheet, if it is not empty.
    """
    opened = FeatureStore.open(store)
    width, height = THUMBNAIL
    rows = -(-len(moments) // COLUMNS)
    top = LINE_PX if warning else 0
    sheet = Image.new("RGB", (COLUMNS * width, top + rows * (height + LINE_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    if warning:
        draw.text((6, 6), warning, fill="red")
    for index, moment in enumerate(moments):
        x, y = index % COLUMNS * width, top + index // COLUMNS * (height + LINE_PX)
        picture = _picture(opened, moment)
        if picture is None:
            draw.rectangle((x, y, x + width - 4, y + height - 1), fill="lightgrey")
        else:
            image = Image.fromarray(picture)
            image.thumbnail((width - 4, height))
            sheet.paste(image, (x, y))
        said = f"{index + 1}  {timecode(moment.start_s)}  {moment.video}"
        draw.text((x + 2, y + height + 4), said[:40], fill="black")
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85)
    with committed(path) as part:
        part.write_bytes(file.getvalue())
    return path


def _picture(store: FeatureStore, moment: Moment) -> NDArray[np.uint8] | None:
    """Return the frame in the middle of a moment, or None if the video cannot be read."""
    record = store.record(moment.video)
    source = video_source_of(record, path=store.source_of(record))
    if source is None:
        return None
    middle_s = (moment.start_s + moment.end_s) / 2
    try:
        with source.opened() as (container, video):
            origin_s = float((video.start_time or 0) * (video.time_base or 0))
            container.seek(round(1e6 * (origin_s + middle_s)))
            for frame in container.decode(video):
                if frame.time is None or frame.time - origin_s >= middle_s:
                    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (VideoError, OSError) as error:
        log.warning("%s: no picture: %s", moment.video, error)
    return None
