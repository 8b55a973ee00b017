"""`vad explain`: write beside scores what a captioner sees in the frames of their events."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.documents import read_json
from vad.errors import UsageError, VideoError
from vad.files import write_json
from vad.stages.extract.captioners import create_captioner
from vad.stages.extract.captioners.captioner import Captioner, clean
from vad.stages.infer.explained import (
    Explained,
    Explanation,
    event_windows,
    ordinary_windows,
    why_unusual,
)
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.video.source import Viewer
from vad.terminal import meter

from .events import files_of, reread


def explain(
    inputs: Iterable[str | Path],
    *,
    captioner: str = "labels",
    top: int = 20,
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    quiet: bool = False,
    on_failed: Callable[[str, VideoError], None] | None = None,
) -> list[VideoScores]:
    """`vad.explain`: explain the events of written scores, in their files, and return the scores.

    inputs: JSON files of scores, or folders of these. top: events of a video that are explained,
    those with the highest scores. on_failed: called with the id and the error of a video that
    cannot be read; without it, the first such video raises VideoError.
    """
    if top < 1:
        raise UsageError(f"--top is {top}, at least 1 is needed")
    files = list(files_of(inputs))
    every = list(reread(files))
    model = create_captioner(captioner, device=device, precision=precision, offline=offline)
    found: list[VideoScores] = []
    with meter("explain", len(files), unit="videos", quiet=quiet) as progress:
        for path, scores in zip(files, every, strict=True):
            try:
                explained = _explained(scores, model, captioner, top)
            except VideoError as error:
                if on_failed is None:
                    raise
                on_failed(scores.video, error)
            else:
                _keep(path, explained)
                found.append(dataclasses.replace(scores, explained=explained))
            progress.advance(name=scores.video)
    return found


def _keep(path: Path, explained: Explained) -> None:
    """Write what is said of the events into a file of scores, whose other fields stay."""
    document = read_json(path)
    assert isinstance(document, dict)  # `reread` has read it
    write_json(path, document | {"explained": asdict(explained)})


def _explained(scores: VideoScores, captioner: Captioner, name: str, top: int) -> Explained:
    """Caption the events of a video and its ordinary moments, in one pass over the video."""
    window, n_frames = captioner.window, scores.record.n_frames
    highest = sorted(scores.events, key=lambda event: -event.peak)[:top]
    shown = {event: event_windows(event, window, n_frames) for event in highest}
    ordinary = ordinary_windows(scores, window) if shown else []
    every = {*ordinary, *(start for starts in shown.values() for start in starts)}
    looking = _Looking(captioner, every, n_frames)
    if shown:
        scores.watch([looking])
    usual = tuple(looking.captions[start] for start in ordinary)

    def told(starts: list[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(looking.captions[start] for start in starts))

    return Explained(
        name,
        captioner.provenance,
        usual,
        tuple(
            Explanation(e.start_frame, e.end_frame, seen, why_unusual(seen, usual))
            for e in sorted(shown, key=lambda event: event.start_frame)
            if (seen := told(shown[e]))
        ),
    )


class _Looking(Viewer):
    """Captions windows of a video as soon as their last frame has been decoded.

    Frames of a window beyond the end of the video are replaced by the last frame, as in `vad
    caption`.
    """

    def __init__(self, captioner: Captioner, starts: Iterable[int], n_frames: int) -> None:
        """starts: first frames of the windows. n_frames: length of the video."""
        self._captioner = captioner
        self._wanted: dict[int, list[int]] = defaultdict(list)  # frame -> windows that show it
        self._frames: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)  # by window
        self.captions: dict[int, str] = {}  # by the first frame of the window
        for start in starts:
            for offset in captioner.offsets:
                self._wanted[min(start + offset, n_frames - 1)].append(start)

    def see(self, number: int, picture: NDArray[np.uint8]) -> None:
        starts = self._wanted.pop(number, [])
        kept = picture.copy() if starts else picture
        for start in starts:
            self._frames[start].append(kept)
            if len(self._frames[start]) == len(self._captioner.offsets):
                (caption,) = self._captioner([np.stack(self._frames.pop(start))])
                self.captions[start] = clean(caption)
