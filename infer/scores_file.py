"""Read the JSON files of `vad score` again, with every field checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from vad.documents import parse, read_json
from vad.errors import InternalError, UsageError
from vad.stages.train.heldout import NormalFootage
from vad.stages.train.kinds import Kinds
from vad.stages.train.rates import FrameRates
from vad.store import VideoRecord

from .explained import Explained
from .scores import SCHEMA, VideoScores
from .settings import EventRule, Propagation
from .where import Where

LONGEST_S = 1e12  # of a video; more microseconds do not fit into 64 bits


def read_scores(path: str | Path) -> VideoScores:
    """Read scores from a JSON file of `vad score`, with the same frame scores and events.

    Raises UsageError, with the name of the field, if the file has another schema or is damaged.
    """
    path = Path(path)
    document = read_json(path)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} does not hold scores of schema {SCHEMA}",
            hint="give a file that vad score --format json wrote",
        )
    try:
        found = parse(_Document, document)
        return found.scores(parse(VideoRecord, document))
    except (ValueError, InternalError) as error:
        raise UsageError(f"{path} is damaged, or of another version of vad: {error}") from None


@dataclass(frozen=True)
class _Snippet:
    score: float
    caption: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"score is {self.score}, expected 0 to 1")


@dataclass(frozen=True)
class _Frame:
    seconds: float


@dataclass(frozen=True)
class _Where:
    view_px: tuple[float, ...]
    shares: tuple[tuple[tuple[float, ...], ...], ...]

    def of(self, n_snippets: int) -> Where:
        """Return the shares as arrays. Raises ValueError with the name of a wrong field."""
        left, top, right, bottom = self.view_px if len(self.view_px) == 4 else (0, 0, 0, 0)
        if not (left < right and top < bottom):
            raise ValueError(f"where.view_px is {self.view_px}, expected left, top, right, bottom")
        sizes = {(len(cells), len(row)) for cells in self.shares for row in cells}
        if len(self.shares) != n_snippets or len(sizes) != 1 or 0 in next(iter(sizes)):
            raise ValueError(f"where.shares is not {n_snippets} tables of one size")
        shares = np.array(self.shares, np.float32)
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError("where.shares has values that are not 0 to 1")
        return Where(shares, (left, top, right, bottom))


@dataclass(frozen=True)
class _Kinds:
    names: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    least: float = 0.0

    def of(self, n_snippets: int) -> Kinds:
        """Return the shares as an array. Raises ValueError with the name of a wrong field."""
        if len(self.names) < 2:
            raise ValueError(f"kinds.names is {list(self.names)}, expected at least 2")
        if len(self.shares) != n_snippets or any(len(r) != len(self.names) for r in self.shares):
            raise ValueError(f"kinds.shares is not {n_snippets} rows of {len(self.names)} values")
        shares = np.array(self.shares, np.float32)
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError("kinds.shares has values that are not 0 to 1")
        return Kinds(self.names, shares, self.least)


@dataclass(frozen=True)
class _Document:
    """The fields of a scores file that are read; all others are computed from these."""

    video: str
    snippets: tuple[_Snippet, ...]
    frames: tuple[_Frame, ...]
    threshold: float
    detector: str
    threshold_from: str
    propagation: Propagation
    rule: EventRule
    provenance: Mapping[str, object]
    where: _Where | None = None
    kinds: _Kinds | None = None
    explained: Explained | None = None
    prior: float | None = None
    normal_footage: NormalFootage | None = None
    familiarity: float | None = None
    training_fps: FrameRates | None = None
    meaning: str = ""
    doubt: str = ""
    camera: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, expected 0 to 1")
        if self.prior is not None and not 0 < self.prior < 1:
            raise ValueError(f"prior is {self.prior}, expected more than 0 and less than 1")
        if not self.frames:
            raise ValueError("frames is empty, expected at least one")
        for index, (one, following) in enumerate(pairwise(self.frames)):
            if following.seconds < one.seconds:
                raise ValueError(f"frames[{index + 1}].seconds is less than that of the one before")

    def scores(self, record: VideoRecord) -> VideoScores:
        """Return the scores, given the record from the same file.

        Raises ValueError with the name of a field if the record does not fit.
        """
        if record.n_frames != len(self.frames):
            raise ValueError(f"n_frames is {record.n_frames}, but there are {len(self.frames)}")
        for name in ("fps", "width", "height"):
            if getattr(record, name) <= 0:
                raise ValueError(f"{name} is {getattr(record, name)}, expected more than 0")
        for second in (record.duration_s, self.frames[0].seconds, self.frames[-1].seconds):
            if abs(second) > LONGEST_S:
                raise ValueError(f"duration_s or frames.seconds has {second:g} seconds")
        captions = [s.caption for s in self.snippets if s.caption is not None]
        return VideoScores(
            video=self.video,
            record=record,
            snippets=np.array([s.score for s in self.snippets], np.float32),
            times=np.array([f.seconds for f in self.frames], np.float64),
            threshold=self.threshold,
            detector=self.detector,
            threshold_from=self.threshold_from,
            prior=self.prior,
            normal_footage=self.normal_footage,
            familiarity=self.familiarity,
            training_fps=self.training_fps,
            meaning=self.meaning,
            doubt=self.doubt,
            camera=self.camera,
            propagation=self.propagation,
            rule=self.rule,
            captions=tuple(captions),
            where=self.where.of(len(self.snippets)) if self.where else None,
            kinds=self.kinds.of(len(self.snippets)) if self.kinds else None,
            explained=self.explained,
            provenance=self.provenance,
        )
