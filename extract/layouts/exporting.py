"""Export of a store's features as files that other projects read: `vad export STORE`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vad.errors import UsageError
from vad.files import write_text
from vad.labels import Label, match, read_labels
from vad.store import FeatureStore
from vad.terminal import meter

from .layout import find_layout


def export_features(
    store: str | Path,
    layout: str,
    out: str | Path,
    *,
    name: str | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
    listed: str | Path | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Write the features of stored videos as float32 files of a published layout; returns the
    files.

    name: of the array, if the store has several. labels: a labels file; only its videos are
    written, abnormal ones first, because some projects take the label from the position in the
    list. split: of the labels file, only videos of this split. listed: a file to write a list of
    the written files to, by their absolute paths, in the form of the layout. Raises UsageError for
    wrong input.
    """
    chosen, opened = find_layout(layout), FeatureStore.open(store)
    array = opened.resolve(chosen.kind, name)
    videos = opened.having(array)
    known: dict[str, Label] = {}
    if labels:
        named = match(read_labels(labels), videos, where=labels)
        named = [label for label in named if split is None or label.split == split]
        known = {label.video: label for label in sorted(named, key=lambda label: -label.label)}
        videos = list(known)
    elif split:
        raise UsageError(f"--split {split} is of a labels file", hint="name it with --labels")
    if not videos:
        raise UsageError(f"{labels} has no video of the split {split!r}")
    folder = Path(out)
    files: list[tuple[Label | None, list[Path]]] = []
    with meter("export", len(videos), unit="videos", quiet=quiet) as progress:
        for video in videos:
            if not (folder / video).resolve().is_relative_to(folder.resolve()):
                raise UsageError(f"{video!r} would be written outside {folder}")
            features = opened.read(video, array).astype(np.float32)
            files.append((known.get(video), chosen.write(folder, video, features)))
            progress.advance()
    if listed:
        write_text(Path(listed), chosen.listed(files))
    return [path for _, paths in files for path in paths]
