"""Captions from files, assigned to the snippets of the store's videos.

If the store is empty, or holds captions only, it receives all videos that the files name; their
lengths come from a CSV, or from the durations in the files. Any other store receives captions for
the videos that it holds; captions of other videos are ignored.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.files import sha256_of
from vad.grid import ClipGrid
from vad.names import VideoNames
from vad.store import FeatureStore, Provenance, VideoRecord
from vad.tables import read_rows
from vad.terminal import meter
from vad.version import VERSION

from ..captioners.settings import CaptionSettings
from ..captioners.table import CaptionerCard
from ..captioners.written import VideoCaptions, files_of, on_grid, read_captions
from ..outcome import Failures, Outcome
from ..records import grid_of_store, refuse_mix, unseen_record
from ..sources import Source

log = logging.getLogger("vad")

MOST_FRAMES = 10**8  # of a video of which there are captions only: 38 days at 30 frames per second
DECODER = "none: captions only"  # the decoder's name in records of undecoded videos


def store_captions_of_files(
    store: FeatureStore,
    card: CaptionerCard,
    settings: CaptionSettings,
    outcome: Outcome,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Store one caption per snippet from caption files, and add the result for each video to
    `outcome`.

    Raises UsageError if the files hold no captions, or none of a video of the store.
    """
    files = files_of(card.model)
    captions = read_captions(files)
    array = f"captions/{card.name}"
    provenance = Provenance.of(
        {
            "captioner": card.name,
            "files": {file.name: sha256_of(file) for file in files},
            "rule": "sentences of half a snippet as one text, held until the next",
            **(grid_of_store(store) or ClipGrid()).sampling.provenance(),
            "vad": VERSION,
        }
    )
    if not overwrite:
        hint = "rename the file, use another --store, or --overwrite"
        refuse_mix(store, array, provenance, hint=hint)
    todo = matched(store, captions, settings)
    todo = {v: c for v, c in todo.items() if overwrite or not _has(store, v, array)}
    lengths = read_lengths(Path(settings.frames)) if settings.frames else {}
    with meter("caption", len(todo), unit="videos", quiet=quiet) as progress:
        for video, (name, said) in todo.items():
            try:
                record, times = _video(
                    store, video, files[0], said, lengths.get(name), settings.fps
                )
                rows = on_grid(said, times, record.duration_s, record.grid)
            except VideoError as error:
                outcome.failed[video] = error
                Failures(store.backend).note(Source(video, files[0]), error)
            else:
                draft = store.draft(video)
                draft.append(array, np.array(rows, dtype=object))
                draft.commit(record, times, {array: provenance})
                outcome.done.append(video)
            progress.advance()


def matched(
    store: FeatureStore, captions: Mapping[str, VideoCaptions], settings: CaptionSettings
) -> dict[str, tuple[str, VideoCaptions]]:
    """Return the videos to caption: by id, the video's name in the files and its captions there."""
    ids = store.ids()

    def has_captions_alone(video: str) -> bool:
        try:
            return store.record(video).decoder == DECODER
        except VideoError:  # the error is reported when its captions are stored
            return False

    if all(store.map(has_captions_alone, ids)):
        return {name: (name, said) for name, said in captions.items()}
    stored = VideoNames(ids)
    found: dict[str, tuple[str, VideoCaptions]] = {}
    for name, said in captions.items():
        fits = stored.find(name) or stored.with_stem(Path(name).stem)
        if len(fits) > 1:
            raise UsageError(f"{name!r} could be {fits[0]!r} or {fits[1]!r} of {store.backend}")
        if fits:
            found[fits[0]] = name, said
    if not found:
        raise UsageError(
            f"the captions name no video of {store.backend} (they name "
            f"{next(iter(captions))!r}, it holds {ids[0]!r})"
        )
    if left := len(captions) - len(found):
        log.warning("%d captioned videos are not in %s", left, store.backend)
    return found


def _has(store: FeatureStore, video: str, array: str) -> bool:
    return store.is_intact(video, array)


def _video(
    store: FeatureStore,
    video: str,
    file: Path,
    said: VideoCaptions,
    n_frames: int | None,
    fps: float,
) -> tuple[VideoRecord, NDArray[np.float64]]:
    """Return the record and frame times of a video: those of the store, or new ones from its
    length.
    """
    if video in store:
        return store.record(video), store.times(video)
    if n_frames is None and said.duration_s is not None:
        n_frames = round(said.duration_s * fps)
    if n_frames is None:
        raise UsageError(
            f"{video!r} is not in {store.backend} and {file} does not say how long it is",
            hint="give --frames CSV with video,frames, or extract the videos first",
        )
    if n_frames < 1:
        raise VideoError("empty", f"{file} says it has {n_frames} frames")
    if n_frames > MOST_FRAMES:
        raise VideoError("mismatch", f"it would have {n_frames:,} frames, at most {MOST_FRAMES:,}")
    record = unseen_record(file, n_frames, fps, "repeat-last", decoder=DECODER)
    return record, np.arange(n_frames) / fps


def read_lengths(path: Path) -> dict[str, int]:
    """Read the number of frames of each video from a CSV with the columns video and frames; other
    columns are ignored. Raises UsageError with the line of the first mistake.
    """
    lengths = {}
    for where, row in read_rows(path, ("video", "frames")):
        if not re.fullmatch("[0-9]{1,15}", row["frames"]):
            raise UsageError(f"{where}: frames is {row['frames'][:40]!r}, expected a whole number")
        lengths[row["video"]] = int(row["frames"])
    return lengths
