"""Compare the features of two stores or folders of files: their recipes and their vectors.

The comparison of recipes, field by field, says whether two arrays should agree. The cosine says
whether they do, for each crop of each snippet of the videos that both sides hold. The lengths of
the vectors are reported too, because a cosine does not show an input scale that is wrong by a
factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.grid import CLIP_FRAMES
from vad.store import INFORMATION, Provenance

from .sides import Side, pairs_of, side_of

LEAST_COSINE = 0.999  # of every crop of every snippet, for features to count as the same
BLOCK_ROWS = 512  # snippets compared at once
INFORMING = INFORMATION | {"dtype"}  # fields that change numbers by rounding only
CLEARLY = 1e-4  # gain in mean cosine from which another order of the crops is reported

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class VideoAgreement:
    """How well two arrays of one video agree: cosines over the snippets that both have."""

    video: str
    n_snippets: tuple[int, int]
    mean: float
    lowest: float
    worst_snippet: int
    worst_crop: int
    worst_s: float  # start of the worst snippet, in seconds
    norms: tuple[float, float]  # mean length of the vectors of either side


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two sides (stores or files); `same` is the verdict."""

    names: tuple[str, str]
    shapes: tuple[tuple[int, int], tuple[int, int]]  # (crops, dim) of each
    same_recipe: bool | None  # None if the recipe of one side is not known
    differing: dict[str, tuple[object, object]]  # of the recipe, with both values
    informing: dict[str, tuple[object, object]]  # of versions and the like
    only: tuple[list[str], list[str]]  # videos that only the first, or second, side holds
    videos: list[VideoAgreement]
    crop_order: list[int] | None  # the second's crops in the order of the first's, if it differs
    least: float = LEAST_COSINE

    @property
    def lowest(self) -> VideoAgreement | None:
        """The video with the lowest cosine, or None if there are no videos in common."""
        return min(self.videos, key=lambda video: video.lowest, default=None)

    @property
    def same(self) -> bool:
        """True if no recipe field, shape or number of snippets differs and every cosine is high
        enough.
        """
        return (
            self.same_recipe is not False
            and self.shapes[0] == self.shapes[1]
            and all(v.n_snippets[0] == v.n_snippets[1] for v in self.videos)
            and all(v.lowest >= self.least for v in self.videos)
        )

    def to_dict(self) -> dict[str, object]:
        """Return all fields and the verdict as JSON values."""
        return {**asdict(self), "same": self.same}


def compare(
    a: str | Path,
    b: str | Path,
    *,
    name: str | None = None,
    layout: str = "auto",
    axes: str = "auto",
    least: float = LEAST_COSINE,
) -> Comparison:
    """Compare two sides, each a feature store, a file of features or a folder of such files.

    Videos are matched by name; if each side has one video only, the two are matched in any case.
    name: of the array in stores, such as `i3d` or `text/minilm`; by default the only one. layout,
    axes: of files, if names or shapes are ambiguous. Raises UsageError if the sides have nothing in
    common to compare.
    """
    one, two = (side_of(path, name, layout, axes) for path in (a, b))
    pairs = pairs_of(one.videos, two.videos)
    differing, informing, same_recipe = _recipes(one.provenance, two.provenance)
    if not pairs and same_recipe is None:
        raise UsageError(
            f"{a} and {b} have no video in common (there are {one.videos[0]!r} and "
            f"{two.videos[0]!r}), and no two recipes to compare"
        )
    shapes = (one.shape, two.shape)
    videos, order = [], None
    if shapes[0] == shapes[1]:
        crops = _CropTally(one.shape[0])
        videos = [_agree(one, two, pair, crops) for pair in pairs]
        order = crops.order()
    return Comparison(
        names=(one.name, two.name),
        shapes=shapes,
        same_recipe=same_recipe,
        differing=differing,
        informing=informing,
        only=(
            sorted(set(one.videos) - {x for x, _ in pairs}),
            sorted(set(two.videos) - {y for _, y in pairs}),
        ),
        videos=videos,
        crop_order=order,
        least=least,
    )


# --- recipes


def _recipes(
    ours: Provenance | None, theirs: Provenance | None
) -> tuple[dict[str, tuple[object, object]], dict[str, tuple[object, object]], bool | None]:
    """Compare two provenances: return the recipe fields that differ, the informing fields that
    differ, and whether the recipes are the same (None if one is not known).
    """
    if ours is None or theirs is None or ours.imported or theirs.imported:
        return {}, {}, None
    one, two = flatten(ours.document), flatten(theirs.document)
    pairs = {n: (one.get(n), two.get(n)) for n in sorted(one.keys() | two.keys())}
    differing = {n: pair for n, pair in pairs.items() if pair[0] != pair[1]}
    informing = {n: pair for n, pair in differing.items() if n.split(".")[0] in INFORMING}
    recipe = {n: pair for n, pair in differing.items() if n not in informing}
    return recipe, informing, not recipe


def flatten(record: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested fields under dotted names: `{"recipe": {"std": 1}}` -> `{"recipe.std": 1}`."""
    flat: dict[str, object] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


# --- numbers


@dataclass
class _CropTally:
    """Sums, over snippets, of the cosines between every crop of one side and every crop of the
    other.
    """

    n_crops: int
    sums: NDArray[np.float64] = field(init=False)
    n: int = 0

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.n_crops, self.n_crops))

    def add(self, ours: Floats, theirs: Floats) -> None:
        self.sums += np.einsum("scd,skd->ck", ours, theirs)
        self.n += len(ours)

    def order(self) -> list[int] | None:
        """Return the order of the second side's crops that fits the first side clearly better than
        their present order, or None if there is none.
        """
        if not self.n:
            return None
        best = self.sums.argmax(axis=1)
        gain = (self.sums.max(axis=1) - self.sums.diagonal()).mean() / self.n
        is_order = sorted(best.tolist()) == list(range(self.n_crops))
        return best.tolist() if is_order and gain > CLEARLY else None


def _agree(one: Side, two: Side, pair: tuple[str, str], crops: _CropTally) -> VideoAgreement:
    ours, theirs = one.read(pair[0]), two.read(pair[1])
    n_common = min(len(ours), len(theirs))
    cosines, norms = [], []
    for start in range(0, n_common, BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, n_common))
        (u, u_norm), (v, v_norm) = _unit(ours[block]), _unit(theirs[block])
        both_zero = (u_norm == 0) & (v_norm == 0)
        cosines.append(np.where(both_zero, 1, np.einsum("scd,scd->sc", u, v)))
        norms.append((u_norm.mean(axis=1), v_norm.mean(axis=1)))
        if start == 0:
            crops.add(u, v)
    cosine = np.concatenate(cosines)
    snippet, crop = np.unravel_index(cosine.argmin(), cosine.shape)
    return VideoAgreement(
        video=pair[0],
        n_snippets=(len(ours), len(theirs)),
        mean=float(cosine.mean()),
        lowest=float(cosine.min()),
        worst_snippet=int(snippet),
        worst_crop=int(crop),
        worst_s=_seconds(one, two, pair, int(snippet)),
        norms=(_mean(ours for ours, _ in norms), _mean(theirs for _, theirs in norms)),
    )


def _unit(features: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Return the vectors scaled to length 1, and their original lengths. A zero vector
    stays zero.
    """
    features = features.astype(np.float32)
    norms = np.linalg.norm(features, axis=-1)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)[..., None], norms


def _mean(blocks: Iterable[Floats]) -> float:
    return float(np.concatenate(list(blocks)).mean())


def _seconds(one: Side, two: Side, pair: tuple[str, str], snippet: int) -> float:
    """Return when a snippet begins, in seconds, by the first side that knows; else at 30 frames per
    second.
    """
    known = (side.seconds(video, snippet) for side, video in zip((one, two), pair, strict=True))
    return next((time_s for time_s in known if time_s is not None), snippet * CLIP_FRAMES / 30)
