"""What the names of videos tell of their labels."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from vad.errors import UsageError
from vad.labels import read_labels

UCF_CRIME = re.compile(r"(Normal_Videos_?|[A-Z][A-Za-z]+)\d+_x264")
XD_VIOLENCE = re.compile(r".+_label_([A-Z0-9-]+)")

log = logging.getLogger("vad")


def check_labels(path: Path, videos: Iterable[str]) -> None:
    """Compare a labels file with what names of videos tell; UsageError at a contradiction."""
    labels = {label.video.rpartition("/")[2]: label.label for label in read_labels(path)}
    stems = [video.rpartition("/")[2] for video in videos]
    for stem in stems:
        told = label_in(stem)
        if told is not None and stem in labels and labels[stem] != told:
            raise UsageError(
                f"{path} labels {stem!r} {labels[stem]}, its name says {told}",
                hint="lists of others are labels by position: is the order that of the labels?",
            )
    unlabelled = [stem for stem in stems if stem not in labels]
    if unlabelled:
        log.warning("%s: %d videos have no label: %s ...", path, len(unlabelled), unlabelled[0])


def label_in(stem: str) -> int | None:
    """The label that the name of a video of UCF-Crime or XD-Violence tells; None for others."""
    if found := XD_VIOLENCE.fullmatch(stem):
        return int(found[1] != "A")
    if found := UCF_CRIME.fullmatch(stem):
        return int(not found[1].startswith("Normal"))
    return None
