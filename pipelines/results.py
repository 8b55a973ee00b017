"""The output of `vad score` and `vad events`: a line per video on stdout, and files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import typer

from vad.errors import VideoError
from vad.files import check_writable, write_text
from vad.stages.infer.scores import VideoScores, event_dict, exact
from vad.stages.infer.settings import FORMATS
from vad.stages.infer.times import timecode
from vad.stages.infer.writers import ScoreFiles, path_of
from vad.stages.train.rates import tell_other_rates
from vad.terminal import meter, plain

FAILURES = "failures.jsonl"
RUN = "run.txt"  # which run the scores in a folder are of

log = logging.getLogger("vad")


class Results:
    """A context manager that writes the files of each video as its scores are added.

    Files that cover all videos, such as the report, are written when the block ends. tell: makes
    the line that is printed for a video, from its scores and its files; by default nothing is
    printed. n_videos: videos that were added. Raises UsageError at once if the folder cannot be
    written.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        *,
        clips: bool = False,
        quiet: bool = False,
        tell: Callable[[VideoScores, Sequence[Path]], str] | None = None,
    ) -> None:
        if formats or clips:
            check_writable(folder)
        self._folder, self._quiet, self._tell = folder, quiet, tell
        self._files = ScoreFiles(folder, formats, clips=clips, quiet=quiet)
        self._n_clips = self.n_videos = 0
        self._other_rates: dict[str, str] = {}  # what is said of each video with another frame rate
        self._writes = bool(formats or clips)

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        files = self._files
        if kind is not None:
            return
        tell_other_rates(self._other_rates, self.n_videos)
        if not files.videos:
            return
        with meter("report", files.n_to_watch, unit="videos", quiet=self._quiet) as progress:
            joint = files.finish(progress)
        if len(files.videos) > 1:
            single = [self._folder / f"*{FORMATS[name].suffix}" for name in files.single]
        else:
            single = [path_of(files.videos[0], self._folder, name) for name in files.single]
        words = [str(path) for path in single + joint]
        if self._n_clips:
            words.append(f"{self._n_clips} clip{'s' * (self._n_clips != 1)} in {self._folder}")
        if words:
            typer.echo(plain(f"written: {', '.join(words)}"), err=True)

    def add(self, scores: VideoScores) -> None:
        """Write the files of one video, and print its line."""
        first, self._writes = self._writes, False
        if first:
            self._tell_other_run(scores)
        paths = self._files.add(scores)
        if first:
            write_text(self._folder / RUN, _run_of(scores))
        self.n_videos += 1
        if scores.other_rate:
            self._other_rates[scores.video] = scores.other_rate
        self._n_clips += len(paths) - len(self._files.single)
        if self._tell:
            typer.echo(self._tell(scores, paths))

    def _tell_other_run(self, scores: VideoScores) -> None:
        """Log a warning if the folder holds scores of another run."""
        try:
            before = (self._folder / RUN).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return
        if before != _run_of(scores):
            log.warning(
                "%s holds scores of another run, %s: files of the same videos are replaced, others "
                "stay",
                *(self._folder, plain(before.partition("\n")[0])[:200]),
            )

    def fail(self, failed: Mapping[str, VideoError]) -> None:
        """List the videos that could not be scored, with reasons, in `failures.jsonl`.

        If none failed, remove the `failures.jsonl` of an earlier run.
        """
        path = self._folder / FAILURES
        if not failed:
            path.unlink(missing_ok=True)  # left by an earlier run
            return
        entries = (
            {"video": video, "reason": error.reason, "message": str(error)}
            for video, error in failed.items()
        )
        write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))
        n = len(failed)
        typer.echo(f"{n} video{'s' * (n != 1)} failed; reasons in {plain(str(path))}", err=True)


def _run_of(scores: VideoScores) -> str:
    """Return what tells one run from another: its folder, and when it was trained."""
    made = scores.provenance
    return f"{made.get('run', scores.detector)}\ntrained {made.get('trained')}\n"


def in_words(scores: VideoScores, _: Sequence[Path]) -> str:
    """Return a line about a video for people to read."""
    return scores.summary


def in_json(scores: VideoScores, paths: Sequence[Path]) -> str:
    """Return a JSON line about a video: its events, as in the JSON file, and the paths of its
    files.
    """
    found = {
        "video": scores.video,
        "source": scores.record.source,
        "n_frames": scores.record.n_frames,
        "duration_s": scores.record.duration_s,
        "threshold": scores.threshold,
        "meaning": scores.meaning,
        "warning": scores.warning,
        "peak": exact(scores.peak),
        "peak_s": scores.peak_s,
        "events": [event_dict(event) for event in scores.events],
        "files": [str(path) for path in paths],
    }
    return json.dumps(found, allow_nan=False)


def explained_words(videos: Iterable[VideoScores]) -> str:
    """Return lines for people about every explained event: when, what is seen, and why."""
    lines = []
    for scores in videos:
        if scores.explained is None:
            continue
        for told in scores.explained.events:
            event = next((e for e in scores.events if e.start_frame == told.start_frame), None)
            times = f"{timecode(event.start_s)} to {timecode(event.end_s)}" if event else ""
            kind = event.kind_words if event else ""
            lines.append("  ".join(filter(None, [plain(scores.video), times, plain(kind)])))
            seen = plain("; ".join(told.seen))
            lines.append(f"  seen, says {scores.explained.captioner}: {seen}")
            lines.append(f"  why: {plain(told.why)}")
    return "\n".join(lines) or "no events"


def events_table(videos: Iterable[VideoScores]) -> str:
    """Return a table with a row per event: video, number, start, end, peak, and its kind and
    caption if known.
    """
    rows = [("video", "event", "start", "end", "peak", "")]
    for scores in videos:
        for number, event in enumerate(scores.events, start=1):
            times = timecode(event.start_s), timecode(event.end_s)
            said = "  ".join(filter(None, [event.kind_words, event.caption]))
            words = plain(scores.video), plain(said)
            rows.append((words[0], str(number), *times, f"{event.peak:.3f}", words[1]))
    if len(rows) == 1:
        return "no events"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
