"""The report: one HTML file of one video or many, for a person, with nothing to fetch.

Its player shows small copies of the videos that are inside the page, so that it plays what a
browser could not (AVI, MPEG-TS), wherever the page is taken. What does not fit `EMBEDDED_BYTES`
plays from its own file, as long as it stays where it is; or, where somebody serves the page, from
a copy that is served with it.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from vad.errors import VideoError
from vad.files import committed

from ..scores import VideoScores
from ..video.copies import Copies, make_copies
from .page import foot, head, overview, section

EMBEDDED_BYTES = 48 * 2**20  # of copies in one page: half an hour to an hour of video

log = logging.getLogger("vad")

__all__ = ["Beside", "write_report"]


@dataclass(frozen=True, slots=True)
class Beside:
    """Where the copy of a video goes that is not to be inside its page."""

    file: Path
    address: str  # of that file, for the page
    above_bytes: int  # smaller copies are inside the page all the same
    most_bytes: int


def write_report(
    path: Path, videos: Sequence[VideoScores], *, beside: Beside | None = None
) -> None:
    """Write the page; videos come in the order of their highest scores.

    A video that cannot be read again has its curve and its events all the same. `beside` is for
    the page of a single video.
    """
    ordered = sorted(videos, key=lambda scores: -scores.peak)
    left_bytes = EMBEDDED_BYTES
    with committed(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(head(ordered))
        if len(ordered) > 1:
            file.write(overview(ordered))
        for number, scores in enumerate(ordered, start=1):
            copies = _copies(scores, left_bytes, beside)
            left_bytes -= len(copies.preview)
            address = _address(scores, copies, path.parent, beside)
            file.write(section(number, scores, copies, address))
        file.write(foot())


def _copies(scores: VideoScores, left_bytes: int, beside: Beside | None) -> Copies:
    most_bytes = max(left_bytes, beside.most_bytes) if beside else left_bytes
    inside_bytes = min(left_bytes, beside.above_bytes) if beside else left_bytes
    with beside.file.open("w+b") if beside else tempfile.TemporaryFile() as copy:
        try:
            copies = make_copies(scores, copy, most_bytes)
        except VideoError as error:
            log.warning("%s: no pictures in the report: %s", scores.record.source, error)
            copy.truncate(0)
            return Copies(readable=False)
        if copy.seek(0, io.SEEK_END) <= inside_bytes:
            copy.seek(0)
            copies = replace(copies, preview=copy.read())
            copy.truncate(0)
    return copies


def _address(scores: VideoScores, copies: Copies, folder: Path, beside: Beside | None) -> str:
    """The address of a video that is not inside the page: its copy, or itself."""
    if copies.preview or not copies.readable or scores.video_source is None:
        return ""
    if beside and beside.file.stat().st_size:
        return beside.address
    try:
        relative = os.path.relpath(scores.video_source.path.resolve(), folder.resolve())
    except ValueError:  # another drive
        return scores.video_source.path.resolve().as_uri()
    return quote(Path(relative).as_posix())
