"""What `vad score` and `vad events` do with scores: a line on stdout, and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import typer

from vad.infer.clips import save_clips
from vad.infer.formats import FORMATS
from vad.infer.scores import VideoScores
from vad.infer.summary import summary
from vad.infer.writers import save, save_all
from vad.terminal import plain


class Results:
    """Takes scores one video at a time, and writes the files of all videos at the end.

    A format that has one file for several videos has one only: a folder's report is one page.
    """

    def __init__(
        self, folder: Path, formats: Sequence[str], *, clips: bool = False, quiet: bool = False
    ) -> None:
        self._folder, self._clips, self._quiet = folder, clips, quiet
        self._single = [f for f in formats if not FORMATS[f].joint]
        self._joint = [f for f in formats if FORMATS[f].joint]
        self._videos: list[VideoScores] = []  # arrays of numbers: the pictures stay in their file

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        if kind is not None or not self._videos:
            return
        if len(self._videos) > 1:
            paths = save_all(self._videos, self._folder, self._joint)
        else:
            paths = save(self._videos[0], self._folder, self._joint)
        if paths and not self._quiet:
            typer.echo(plain(", ".join(map(str, paths))))

    def add(self, scores: VideoScores) -> None:
        """Write the files of one video, and say what was found in it."""
        self._videos.append(scores)
        words = [summary(scores)]
        if paths := save(scores, self._folder, self._single):
            names = ",".join(FORMATS[name].suffix for name in self._single)
            stem = str(paths[0]).removesuffix(FORMATS[self._single[0]].suffix)
            words.append(f"{stem}{{{names}}}" if len(paths) > 1 else str(paths[0]))
        if self._clips and scores.footage:
            n_clips = len(save_clips(scores, scores.footage, self._folder))
            words.append(f"{n_clips} clip{'s' * (n_clips != 1)} in {self._folder}")
        if not self._quiet:
            typer.echo(plain("; ".join(words)))
