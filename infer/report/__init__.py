"""The report: one HTML file of one video or many, for a person, with nothing to fetch.

Its player shows small copies of the videos that are inside the page, so that it plays what a
browser could not (AVI, MPEG-TS), wherever the page is taken. What does not fit `EMBEDDED_BYTES`
plays from its own file, as long as it stays where it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from vad.errors import VideoError
from vad.files import committed

from ..scores import VideoScores
from .media import Media, make_media
from .page import foot, head, overview, section

EMBEDDED_BYTES = 48 * 2**20  # of copies in one page: half an hour to an hour of video

log = logging.getLogger("vad")

__all__ = ["write_report"]


def write_report(path: Path, videos: Sequence[VideoScores]) -> None:
    """Write the page; videos come in the order of their highest scores.

    A video that cannot be read again has its curve and its events all the same.
    """
    ordered = sorted(videos, key=lambda scores: -scores.peak)
    left_bytes = EMBEDDED_BYTES
    with committed(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(head(ordered))
        if len(ordered) > 1:
            file.write(overview(ordered))
        for number, scores in enumerate(ordered, start=1):
            media = _media(scores, left_bytes)
            left_bytes -= len(media.preview)
            file.write(section(number, scores, media, _address(scores, media, path.parent)))
        file.write(foot())


def _media(scores: VideoScores, most_bytes: int) -> Media:
    try:
        return make_media(scores, most_bytes)
    except VideoError as error:
        log.warning("%s: no pictures in the report: %s", scores.record.source, error)
        return Media(readable=False)


def _address(scores: VideoScores, media: Media, folder: Path) -> str:
    """The address of the video itself, relative to the page, where there is no copy of it."""
    if media.preview or not media.readable or scores.footage is None:
        return ""
    try:
        relative = os.path.relpath(scores.footage.path.resolve(), folder.resolve())
    except ValueError:  # another drive
        return scores.footage.path.resolve().as_uri()
    return quote(Path(relative).as_posix())
