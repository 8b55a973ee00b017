"""Files of scores: a function for every format of `vad.stages.infer.settings`, and what calls them.

A function `write_<format>` takes the path and the scores of one video. What is made of pictures
(overlay, clips, report) is in `video` and `report`. Every file appears whole or not at all.
"""

from __future__ import annotations

import csv
import html
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vad.errors import UsageError
from vad.files import committed, write_json, write_text
from vad.progress import Meter
from vad.store import key_of
from vad.terminal import plain

from .scores import EVENT_COLUMNS, VideoScores, event_dict, exact
from .settings import FORMATS, check_formats
from .times import frame_timecode, timecode
from .video.source import Viewer

if TYPE_CHECKING:
    from .video.copies import Copies

EDL_RATES, OTHER_EDL_RATE = (24, 25, 30, 48, 50, 60), 25  # SMPTE's, frames per second
MOST_EDL_EVENTS = 999  # event numbers have three digits
NO_TAGS = str.maketrans("<>{}", "[][]")


def save(
    scores: VideoScores, folder: Path, formats: Iterable[str], *, clips: bool = False
) -> list[Path]:
    """Write the scores of one video in several formats, with `clips` also every event as a video;
    the paths written.

    The video is decoded once at most. Raises UsageError for an unknown format, or for one that
    needs a video that is gone; VideoError where the video cannot be read.
    """
    files = ScoreFiles(folder, formats, clips=clips)
    return files.add(scores) + files.finish()


class ScoreFiles:
    """Writes the files of scored videos: of each video as it comes, and joint ones at the end.

    A format with a joint file, such as the report, has one for all videos, or, where there is one
    video only, that of the video. Each video is decoded once at most, for all that is made of it.
    """

    def __init__(self, folder: Path, formats: Iterable[str], *, clips: bool = False) -> None:
        formats = check_formats(formats)
        self._folder, self._clips = folder, clips
        self.single = [f for f in formats if not FORMATS[f].joint]
        self.joint = [f for f in formats if FORMATS[f].joint]
        self.videos: list[VideoScores] = []  # arrays of numbers: the pictures stay in their files
        self._copies: list[Copies | None] = []  # of every video, for the report

    def add(self, scores: VideoScores) -> list[Path]:
        """Write the files of one video; their paths."""
        paths = []
        for name in self.single:
            if FORMATS[name].needs_video and scores.video_source is None:
                raise UsageError(
                    f"{name} needs the video, and {scores.record.source} is not there",
                    hint="bring it back, or leave that format out",
                )
            path = path_of(scores, self._folder, name)
            if name in WRITERS:
                WRITERS[name](path, scores)
            paths.append(path)
        clips, copies = self._watch(scores)
        self.videos.append(scores)
        self._copies.append(copies)
        if copies:
            from .report import fitting

            self._copies = fitting(self.videos, self._copies)
        return paths + clips

    def finish(self, meter: Meter | None = None) -> list[Path]:
        """Write the joint files; their paths. The meter moves by one for each of `n_to_watch`."""
        paths = []
        for name in self.joint if self.videos else ():
            if len(self.videos) == 1:
                path = path_of(self.videos[0], self._folder, name)
            else:
                path = self._folder / FORMATS[name].joint
            if name == "html":
                from .report import write_report

                write_report(path, self.videos, copies=self._copies, meter=meter)
            else:
                write_events(path, self.videos)
            paths.append(path)
        return paths

    @property
    def n_to_watch(self) -> int:
        """Videos that the report has yet to read."""
        pairs = zip(self.videos, self._copies, strict=True)
        n = sum(copies is None and scores.video_source is not None for scores, copies in pairs)
        return n if "html" in self.joint else 0

    def _watch(self, scores: VideoScores) -> tuple[list[Path], Copies | None]:
        """Write overlay and clips in one pass, and make the copies for the report in it.

        Where neither is wanted there is no pass: the report reads the video when it is written.
        """
        from . import report
        from .video.clips import Clips
        from .video.copies import CopyMaker
        from .video.overlay import Overlay

        viewers: list[Viewer] = []
        if "mp4" in self.single:
            viewers.append(Overlay(path_of(scores, self._folder, "mp4"), scores))
        clips = None
        if self._clips and scores.events and scores.video_source:
            viewers.append(clips := Clips(self._folder, scores))
        if not viewers:
            return [], None
        with tempfile.TemporaryFile() as file:
            maker = None
            if "html" in self.joint:
                viewers.append(maker := CopyMaker(scores, file, report.EMBEDDED_BYTES))
            scores.watch(viewers)
            copies = maker.copies(report.EMBEDDED_BYTES) if maker else None
        return clips.paths if clips else [], copies


def path_of(scores: VideoScores, folder: Path, name: str) -> Path:
    """The file of a video in a format. The id of the video is percent-encoded, as in a store, so
    that no name leaves the folder or has a meaning to a shell or a page."""
    return folder / f"{key_of(scores.video)}{FORMATS[name].suffix}"


def write_csv(path: Path, scores: VideoScores) -> None:
    """CSV, a row per frame: frame, seconds, timecode, score; scores with all their digits."""
    with committed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "seconds", "timecode", "score"])
        for frame, seconds, score in scores.rows():
            writer.writerow([frame, f"{seconds:.6f}", timecode(seconds), score])


def write_json_file(path: Path, scores: VideoScores) -> None:
    """JSON by the schema `vad.scores/1`: all that is known, and all that `vad events` needs."""
    write_json(path, scores.to_dict())


def write_npy(path: Path, scores: VideoScores) -> None:
    """NumPy, the frame scores alone: float32 [frames]."""
    with committed(path) as part, part.open("wb") as file:
        np.save(file, scores.frames)


def write_png(path: Path, scores: VideoScores) -> None:
    """PNG, the frame scores over time, with the threshold."""
    from .evaluation.plots import plot_curve

    plot_curve(path, scores.times, scores.frames, title=scores.video, threshold=scores.threshold)


def write_events(path: Path, videos: Iterable[VideoScores]) -> None:
    """CSV, a row per event of all videos: video, event, fps and the columns of `EVENT_COLUMNS`."""
    with committed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", "event", "fps", *EVENT_COLUMNS])
        for scores in videos:
            for number, event in enumerate(scores.events, start=1):
                values = event_dict(event) | {"caption": cell(event.caption)}
                row = [values[column] for column in EVENT_COLUMNS]
                writer.writerow([cell(scores.video), number, scores.record.fps, *row])


def write_srt(path: Path, scores: VideoScores) -> None:
    """SubRip, a subtitle for every event. Arrows and tags in captions are taken apart."""
    blocks = []
    for number, event in enumerate(scores.events, start=1):
        start, end = (timecode(s).replace(".", ",") for s in (event.start_s, event.end_s))
        words = headline(scores, number).translate(NO_TAGS)
        blocks.append(f"{number}\n{start} --> {end}\n{words}\n")
    write_text(path, "\n".join(blocks))


def write_vtt(path: Path, scores: VideoScores) -> None:
    """WebVTT, a cue for every event; captions are escaped as WebVTT asks."""
    cues = ["WEBVTT\n"]
    for number, event in enumerate(scores.events, start=1):
        words = html.escape(headline(scores, number), quote=False)
        times = f"{timecode(event.start_s)} --> {timecode(event.end_s)}"
        cues.append(f"{number}\n{times}\n{words}\n")
    write_text(path, "\n".join(cues))


def write_edl(path: Path, scores: VideoScores) -> None:
    """An edit decision list, CMX 3600: the events one after the other, for an editing program.

        001  AX       V     C        00:00:12:00 00:00:18:10 00:00:00:00 00:00:06:10

    The reel is the auxiliary source AX. Timecodes count frames at the nearest whole rate, without
    dropping any (29.97 counts as 30), so that they name frames exactly. Editing programs know a few
    rates only: for a video of another rate, times are given at 25 frames per second. The program
    must be told the rate.
    """
    rate, scale = round(scores.record.fps), 1.0
    if rate not in EDL_RATES:
        rate, scale = OTHER_EDL_RATE, OTHER_EDL_RATE / scores.record.fps
    title = plain(" ".join(scores.video.split()))[:70]
    lines = [f"TITLE: {title}", "FCM: NON-DROP FRAME", ""]
    clip_name = plain(" ".join(Path(scores.record.source).name.split()))
    position = 0
    for number, event in enumerate(scores.events[:MOST_EDL_EVENTS], start=1):
        start, end = round(event.start_frame * scale), round(event.end_frame * scale)
        times = (start, end, position, position + end - start)
        codes = " ".join(frame_timecode(frame, rate) for frame in times)
        lines += [
            f"{number:03d}  AX       V     C        {codes}",
            f"* FROM CLIP NAME: {clip_name}",
            f"* COMMENT: {headline(scores, number)}",
        ]
        position += end - start
    write_text(path, "\n".join(lines) + "\n")


def write_elan(path: Path, scores: VideoScores) -> None:
    """Tab-delimited text for ELAN (File, Import, CSV / Tab-delimited Text File).

    A row per event on the tier `anomaly`, in seconds with milliseconds. ELAN asks which column is
    which; the header names them by ELAN's own words.
    """
    rows = ["Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tDuration - ss.msec\tAnnotation"]
    for number, event in enumerate(scores.events, start=1):
        start, end = round(event.start_s, 3), round(event.end_s, 3)
        times = f"{start:.3f}\t{end:.3f}\t{end - start:.3f}"
        rows.append(f"anomaly\t{times}\t{headline(scores, number)}")
    write_text(path, "\n".join(rows) + "\n")


def write_labelstudio(path: Path, scores: VideoScores) -> None:
    """Label Studio: one task with the events as a prediction on a video timeline.

    For a labelling configuration such as

        <View>
          <Video name="video" value="$video"/>
          <TimelineLabels name="anomaly" toName="video"><Label value="anomaly"/></TimelineLabels>
          <TextArea name="caption" toName="video" perRegion="true"/>
        </View>

    Label Studio counts frames from 1, and a range includes its end
    (labelstud.io/tags/timelinelabels). It plays what a server gives it: replace the path of the
    video by an address that it can reach.
    """
    regions = [r for number in range(1, len(scores.events) + 1) for r in _regions(scores, number)]
    prediction = {
        "model_version": scores.detector,
        "score": exact(scores.peak),
        "result": regions,
    }
    task = {
        "data": {"video": scores.record.source, "fps": scores.record.fps},
        "meta": {"video": scores.video, "threshold": scores.threshold},
        "predictions": [prediction],
    }
    write_json(path, [task])


def _regions(scores: VideoScores, number: int) -> list[dict[str, object]]:
    """The entries of Label Studio for one event, counted from 1: its range, and its caption."""
    event = scores.events[number - 1]
    ranges = [{"start": event.start_frame + 1, "end": event.end_frame}]
    shared = {"id": f"event-{number}", "to_name": "video", "score": exact(event.peak)}
    region = {
        **shared,
        "from_name": "anomaly",
        "type": "timelinelabels",
        "value": {"ranges": ranges, "timelinelabels": ["anomaly"]},
    }
    if not event.caption:
        return [region]
    words = {"ranges": ranges, "text": [event.caption]}
    return [region, {**shared, "from_name": "caption", "type": "textarea", "value": words}]


def headline(scores: VideoScores, number: int) -> str:
    """One line about an event, counted from 1: `anomaly 0.93: two men are fighting`."""
    event = scores.events[number - 1]
    caption = plain(" ".join(event.caption.split()))
    return f"anomaly {event.peak:.2f}" + (f": {caption}" if caption else "")


def cell(text: str) -> str:
    """Text for a table that a spreadsheet may open: never a formula, always one line.

    A leading apostrophe makes it text to spreadsheets, as OWASP's page on CSV injection advises.
    """
    line = plain(" ".join(text.split()))
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


WRITERS = {  # of formats that need neither pictures nor other videos
    "csv": write_csv,
    "json": write_json_file,
    "npy": write_npy,
    "png": write_png,
    "srt": write_srt,
    "vtt": write_vtt,
    "edl": write_edl,
    "elan": write_elan,
    "labelstudio": write_labelstudio,
}
