"""Write the score files of videos: one function per format of `vad.stages.infer.settings`.

A function `write_<format>` takes a path and the scores of one video. Formats that need decoded
frames (overlay, clips, report) are in `video` and `report`. If writing fails, no partial file is
left.
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
from vad.plugins import load_object
from vad.store import key_of
from vad.tables import cell
from vad.terminal import Meter, meter, plain

from .scores import EVENT_COLUMNS, VideoScores, event_dict, exact
from .settings import FORMATS, check_formats
from .times import frame_timecode, timecode
from .video.source import Viewer

if TYPE_CHECKING:
    from .video.copies import Copies

# frame rates of SMPTE timecode, and the one used for other videos, in frames per second
EDL_RATES, OTHER_EDL_RATE = (24, 25, 30, 48, 50, 60), 25
MOST_EDL_EVENTS = 999  # event numbers have three digits
NO_TAGS = str.maketrans("<>{}", "[][]")


def save(
    scores: VideoScores, folder: Path, formats: Iterable[str], *, clips: bool = False
) -> list[Path]:
    """Write the scores of one video in several formats, and return the paths.

    With `clips`, every event is written as a video as well. The video is decoded at most once.
    Raises UsageError if a format is unknown, or if it needs the video and the file is missing;
    raises VideoError if the video cannot be read.
    """
    files = ScoreFiles(folder, formats, clips=clips)
    return files.add(scores) + files.finish()


class ScoreFiles:
    """Writes the score files of several videos: single ones in `add`, joint ones in `finish`.

    A format with a joint file, such as the report, has one file for all videos. If there is only
    one video, the joint file is named after it. Each video is decoded at most once, for all its
    files together.
    """

    def __init__(
        self, folder: Path, formats: Iterable[str], *, clips: bool = False, quiet: bool = True
    ) -> None:
        formats = check_formats(formats)
        self._folder, self._clips, self._quiet = folder, clips, quiet
        self.single = [f for f in formats if not FORMATS[f].joint]
        self.joint = [f for f in formats if FORMATS[f].joint]
        self.videos: list[VideoScores] = []  # scores only; decoded frames are not kept
        # of every video, for the report; None if not made yet
        self._copies: list[Copies | None] = []

    def add(self, scores: VideoScores) -> list[Path]:
        """Write the files of one video, and return their paths.

        Raises UsageError if a format needs the video and the file is missing.
        """
        paths = []
        for name in self.single:
            if FORMATS[name].needs_video and scores.video_source is None:
                raise UsageError(
                    f"{name} needs the video, and {scores.record.source} is not there as it was",
                    hint="bring it back, or leave that format out",
                )
            path = path_of(scores, self._folder, name)
            if name in WRITERS:
                WRITERS[name](path, scores)
            elif writer := FORMATS[name].writer:
                with committed(path) as part:
                    load_object(writer, None)(part, scores)
            paths.append(path)
        clips, copies = self._decoded_files(scores)
        self.videos.append(scores)
        self._copies.append(copies)
        if copies:
            from .report import fitting

            self._copies = fitting(self.videos, self._copies)
        return paths + clips

    def finish(self, meter: Meter | None = None) -> list[Path]:
        """Write the joint files, and return their paths; the meter advances `n_to_watch` times."""
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
        """Return the number of videos that the report still has to decode."""
        pairs = zip(self.videos, self._copies, strict=True)
        n = sum(copies is None and scores.video_source is not None for scores, copies in pairs)
        return n if "html" in self.joint else 0

    def _decoded_files(self, scores: VideoScores) -> tuple[list[Path], Copies | None]:
        """Decode a video once to write overlay and clips, and to make the copies for the report.

        Returns the paths of the clips, and the copies or None. If neither overlay nor clips are
        wanted, nothing is decoded: the report decodes the video when it is written.
        """
        from . import report
        from .video.clips import Clips
        from .video.copies import CopyMaker, ProgressViewer
        from .video.overlay import Overlay

        viewers: list[Viewer] = []
        if "mp4" in self.single:
            viewers.append(Overlay(path_of(scores, self._folder, "mp4"), scores))
        clips = None
        if self._clips and scores.events and scores.video_source:
            viewers.append(clips := Clips(self._folder, scores))
        if not viewers:
            return [], None
        with (
            tempfile.TemporaryFile() as file,
            meter("draw", 1, unit="videos", quiet=self._quiet) as progress,
        ):
            maker = None
            if "html" in self.joint:
                viewers.append(maker := CopyMaker(scores, file, report.EMBEDDED_BYTES))
            scores.watch([*viewers, ProgressViewer(scores, progress)])
            progress.advance(name=scores.video)
            copies = maker.copies(report.EMBEDDED_BYTES) if maker else None
        return clips.paths if clips else [], copies


def path_of(scores: VideoScores, folder: Path, name: str) -> Path:
    """Return the path of a video's file in a format.

    The video id is percent-encoded, as in a store, so that no name leads out of the folder or has a
    special meaning in a shell or a page.
    """
    return folder / f"{key_of(scores.video)}{FORMATS[name].suffix}"


def write_csv(path: Path, scores: VideoScores) -> None:
    """Write a CSV file with one row per frame: frame, seconds, timecode and exact score."""
    with committed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "seconds", "timecode", "score"])
        for frame, seconds, score in scores.rows():
            writer.writerow([frame, f"{seconds:.6f}", timecode(seconds), score])


def write_json_file(path: Path, scores: VideoScores) -> None:
    """Write a JSON file by the schema `vad.scores/1`, with everything that `vad events` needs."""
    write_json(path, scores.to_dict())


def write_npy(path: Path, scores: VideoScores) -> None:
    """Write the frame scores, float32 [frames], as a NumPy file."""
    with committed(path) as part, part.open("wb") as file:
        np.save(file, scores.frames)


def write_png(path: Path, scores: VideoScores) -> None:
    """Write a PNG file with the frame scores over time and the threshold."""
    from .evaluation.plots import plot_curve

    title = f"{scores.video}: {scores.detector}" if scores.meaning else scores.video
    plot_curve(path, scores.times, scores.frames, title=title, threshold=scores.threshold)


def write_events(path: Path, videos: Iterable[VideoScores]) -> None:
    """Write a CSV file with one row per event of all videos.

    The columns are video, event, fps and those of `EVENT_COLUMNS`.
    """
    with committed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", "event", "fps", *EVENT_COLUMNS])
        for scores in videos:
            for number, event in enumerate(scores.events, start=1):
                values = event_dict(event) | {"caption": cell(event.caption)}
                row = [values[column] for column in EVENT_COLUMNS]
                writer.writerow([cell(scores.video), number, scores.record.fps, *row])


def write_srt(path: Path, scores: VideoScores) -> None:
    """Write SubRip subtitles, one per event. Brackets of tags in captions are replaced."""
    blocks = []
    for number, event in enumerate(scores.events, start=1):
        start, end = (timecode(s).replace(".", ",") for s in (event.start_s, event.end_s))
        words = headline(scores, number).translate(NO_TAGS)
        blocks.append(f"{number}\n{start} --> {end}\n{words}\n")
    write_text(path, "\n".join(blocks))


def write_vtt(path: Path, scores: VideoScores) -> None:
    """Write WebVTT subtitles, one cue per event, with captions escaped for WebVTT."""
    cues = ["WEBVTT\n"]
    for number, event in enumerate(scores.events, start=1):
        words = html.escape(headline(scores, number), quote=False)
        times = f"{timecode(event.start_s)} --> {timecode(event.end_s)}"
        cues.append(f"{number}\n{times}\n{words}\n")
    write_text(path, "\n".join(cues))


def write_edl(path: Path, scores: VideoScores) -> None:
    """Write an edit decision list (CMX 3600), which lists the events for an editing program.

        001  AX       V     C        00:00:12:00 00:00:18:10 00:00:00:00 00:00:06:10

    The reel is the auxiliary source AX. Timecodes count frames at the nearest whole frame rate,
    without drop frames (29.97 counts as 30), so that each timecode is exactly one frame. Editing
    programs know only a few rates; for a video of another rate, timecodes are at 25 frames per
    second. The user must set this rate in the program.
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
    """Write tab-delimited text for ELAN (File, Import, CSV / Tab-delimited Text File).

    There is one row per event on the tier `anomaly`, in seconds with milliseconds. ELAN asks for
    the meaning of the columns; the header uses ELAN's own words for them.
    """
    rows = ["Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tDuration - ss.msec\tAnnotation"]
    for number, event in enumerate(scores.events, start=1):
        start, end = round(event.start_s, 3), round(event.end_s, 3)
        times = f"{start:.3f}\t{end:.3f}\t{end - start:.3f}"
        rows.append(f"anomaly\t{times}\t{headline(scores, number)}")
    write_text(path, "\n".join(rows) + "\n")


def write_labelstudio(path: Path, scores: VideoScores) -> None:
    """Write a Label Studio task with the events as a prediction on a video timeline.

    It is meant for a labelling configuration such as

        <View>
          <Video name="video" value="$video"/>
          <TimelineLabels name="anomaly" toName="video"><Label value="anomaly"/></TimelineLabels>
          <TextArea name="caption" toName="video" perRegion="true"/>
        </View>

    Label Studio counts frames from 1, and a range includes its last frame
    (labelstud.io/tags/timelinelabels). Label Studio plays videos from a server: replace the path of
    the video by an address that it can reach.
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
    """Return the Label Studio entries of an event, its range and its caption; `number` starts
    at 1.
    """
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
    """Return one line about an event, such as `anomaly 0.93: two men are fighting`.

    `number` counts the events of the video from 1.
    """
    event = scores.events[number - 1]
    caption = plain(" ".join(event.caption.split()))
    kind = "novelty" if scores.meaning else "anomaly"
    return f"{kind} {event.peak:.2f}" + (f": {caption}" if caption else "")


WRITERS = {  # formats that need neither decoded frames nor other videos
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
