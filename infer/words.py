"""Scores and searches by sentences, without training: how like a picture is to what is said.

Features of an image-text backbone are compared with the vectors of sentences. Scores contrast the
sentences that are looked for with ordinary ones: a softmax over all of them, as CLIP classifies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.stages.train.kinds import NORMAL, Kinds
from vad.store import FeatureStore

from .scores import VideoScores
from .times import timecode

SCALE = 100.0  # of cosines before the softmax, as CLIP was trained
QUANTILE = 0.95  # of a video's own scores: its threshold
ORDINARY = (
    "people walking",
    "an empty street",
    "people standing and talking",
    "ordinary traffic",
    "an ordinary scene where nothing happens",
)
NAME = "words"  # what `detector` is called in scores by words
RANDOM = "RANDOM WEIGHTS: these scores mean nothing"
APART = 3  # snippets; a nearer moment of the same video is not listed again

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sentences:
    """What is looked for, contrasted with what is ordinary, as vectors of length 1."""

    looked_for: tuple[str, ...]
    ordinary: tuple[str, ...]
    vectors: Floats  # [sentences, dim], those looked for first
    is_random: bool

    @property
    def meaning(self) -> str:
        """Return what the scores are, in words."""
        words = ", ".join(f'"{sentence}"' for sentence in self.looked_for)
        return f"words alone: more like {words} than ordinary; nothing was trained"

    def kinds_of(self, rows: NDArray[np.generic]) -> Kinds:
        """Return the share of what is ordinary, and of each sentence, for every snippet.

        rows: features [snippets, crops, dim]; shares are means over crops.
        """
        shares, n = _shares(rows, self.vectors), len(self.looked_for)
        each = np.concatenate([shares[:, n:].sum(1, keepdims=True), shares[:, :n]], 1)
        return Kinds(("ordinary", *self.looked_for), each.astype(np.float32))

    def name(self, rows: NDArray[np.generic], scores: NDArray[np.floating]) -> Kinds:
        """Return the kinds of snippets with these scores [snippets] in [0, 1] of a run.

        The scores decide when something happens, the sentences what, as in DSANet's class
        probabilities: the share of the normal class is 1 - score, and the rest is divided by a
        softmax over what is looked for, without what is ordinary. rows: features [snippets, crops,
        dim].
        """
        shares = scores[:, None] * _shares(rows, self.vectors[: len(self.looked_for)])
        each = np.concatenate([1 - scores[:, None], shares], 1)
        return Kinds((NORMAL, *self.looked_for), each.astype(np.float32))

    def check_width(self, rows: NDArray[np.generic], array: str, video: str) -> None:
        """Raise UsageError if features [snippets, crops, dim] have another width than the
        sentences.
        """
        if rows.shape[-1] != self.vectors.shape[1]:
            raise UsageError(
                f"{array} of {video!r} has {rows.shape[-1]} values, the sentences have "
                f"{self.vectors.shape[1]}",
                hint="name the backbone that the features were made with: --backbone",
            )


def _shares(rows: NDArray[np.generic], vectors: Floats) -> Floats:
    """Return the softmax over sentences of the cosines of features [snippets, crops, dim] and
    vectors [sentences, dim], mean over crops: [snippets, sentences].
    """
    cosines = unit(rows) @ vectors.T
    likeness = np.exp(SCALE * (cosines - cosines.max(-1, keepdims=True)))
    return np.asarray((likeness / likeness.sum(-1, keepdims=True)).mean(1))


def unit(rows: NDArray[np.generic]) -> Floats:
    """Return feature vectors [..., dim] scaled to length 1; zeros stay zeros."""
    values = rows.astype(np.float32)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12))


def score_by_words(
    store: FeatureStore, video: str, array: str, said: Sentences, threshold: float | None
) -> VideoScores:
    """Return the scores of a stored video by sentences.

    threshold: by default the `QUANTILE` of the video's own scores. Raises UsageError if the array
    has another width than the sentences.
    """
    rows = store.read(video, array)
    said.check_width(rows, array, video)
    kinds = said.kinds_of(rows)
    scores = np.clip(1 - kinds.shares[:, 0], 0, 1)
    given = threshold is not None
    limit = threshold if threshold is not None else float(np.quantile(scores, QUANTILE))
    return VideoScores(
        video=video,
        record=store.record(video),
        snippets=scores,
        times=store.times(video),
        threshold=limit,
        detector=NAME,
        threshold_from="given" if given else f"the {QUANTILE:.0%} quantile of this video's scores",
        meaning=said.meaning,
        doubt=RANDOM if said.is_random else "",
        kinds=kinds,
        provenance={"look_for": list(said.looked_for), "ordinary": list(said.ordinary)},
    )


# --- search


@dataclass(frozen=True)
class Moment:
    """A snippet of a stored video, and how like it is to what was searched."""

    video: str
    snippet: int
    start_s: float
    end_s: float
    likeness: float  # cosine, -1 to 1

    def to_dict(self) -> dict[str, object]:
        """Return the moment as plain values, with timecodes."""
        return {
            **asdict(self),
            "start_timecode": timecode(self.start_s),
            "end_timecode": timecode(self.end_s),
        }


def search_rows(
    store: FeatureStore,
    array: str,
    vector: Floats,
    videos: Iterable[str],
    *,
    top: int,
    but: tuple[str, int] | None = None,
) -> list[Moment]:
    """Return the `top` moments of stored videos that are most like a vector [dim], best first.

    Of moments of a video that are less than `APART` snippets apart, only the best is listed. but:
    a video and a snippet around which nothing is listed. Raises UsageError if the widths differ.
    """
    ids = list(videos)
    every = store.map(lambda video: store.read(video, array), ids)
    found: list[tuple[float, str, int]] = []
    for video, rows in zip(ids, every, strict=True):
        if rows.shape[-1] != len(vector):
            raise UsageError(
                f"{array} of {video!r} has {rows.shape[-1]} values, what is searched {len(vector)}",
                hint="name the array that it was made for: --visual",
            )
        likeness = (unit(rows) @ vector).max(1)
        taken = [but[1]] if but and but[0] == video else []
        for snippet in np.argsort(-likeness, kind="stable")[: top + 2 * APART * top].tolist():
            if all(abs(snippet - other) >= APART for other in taken):
                taken.append(snippet)
                found.append((float(likeness[snippet]), video, snippet))
            if len(taken) > top:
                break
    best = sorted(found, key=lambda one: (-one[0], one[1], one[2]))[:top]
    return [_moment(store, *one) for one in best]


def _moment(store: FeatureStore, likeness: float, video: str, snippet: int) -> Moment:
    record = store.record(video)
    start, end = record.grid.seconds(snippet, store.times(video), record.duration_s)
    return Moment(video, snippet, round(start, 3), round(end, 3), round(likeness, 4))


def vector_like(store: FeatureStore, array: str, video: str, second: float) -> tuple[Floats, int]:
    """Return the mean over crops of a video's features at a time, [dim] of length 1, and its
    snippet.

    Raises UsageError if the video does not last that long.
    """
    record, times = store.record(video), store.times(video)
    if not 0 <= second < max(record.duration_s, float(times[-1])):
        raise UsageError(
            f"{video!r} lasts {record.duration_s:.1f} s, {second:g} s is not within it"
        )
    frame = int(np.searchsorted(times, second, side="right")) - 1
    rows = store.read(video, array)
    snippet = int(record.grid.snippet_of_frames(record.n_frames)[max(frame, 0)])
    return unit(unit(rows[snippet]).mean(0)), snippet


def moments_table(moments: Sequence[Moment]) -> str:
    """Return the moments as lines: rank, likeness, time and video."""
    return "\n".join(
        f"{rank:>3}  {moment.likeness:.3f}  {timecode(moment.start_s)} to "
        f"{timecode(moment.end_s)}  {moment.video}"
        for rank, moment in enumerate(moments, start=1)
    )
