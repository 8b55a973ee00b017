"""Are these the same features? Two stores, or files, compared by recipe and by number.

The recipe says whether two arrays should agree, field by field; the cosine says whether they do,
snippet by snippet and crop by crop, where both sides hold a video. Lengths of the vectors are told
beside it, as a cosine does not see a wrong scale of the input that all layers pass on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.grid import CLIP_FRAMES
from vad.store import INFORMATION

from .sides import Side, pairs_of, side_of

LEAST_COSINE = 0.999  # of one crop of one snippet, for features to count as the same
BLOCK_ROWS = 512  # snippets compared at once
INFORMING = INFORMATION | {"dtype"}  # fields that should change no number by more than rounding
CLEARLY = 1e-4  # by which another order of the crops must fit better, to be worth telling

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class VideoAgreement:
    """How two arrays of one video agree: cosines of the snippets that both have."""

    video: str
    n_snippets: tuple[int, int]
    mean: float
    lowest: float
    worst_snippet: int
    worst_crop: int
    worst_s: float  # when the worst snippet begins
    norms: tuple[float, float]  # mean length of the vectors


@dataclass(frozen=True)
class Comparison:
    """What two sides have in common; `same` is the verdict."""

    names: tuple[str, str]
    shapes: tuple[tuple[int, int], tuple[int, int]]  # (crops, dim) of each
    same_recipe: bool | None  # None where one of them is not known
    differing: dict[str, tuple[Any, Any]]  # fields of the recipe
    informing: dict[str, tuple[Any, Any]]  # versions and such, which should change nothing
    only: tuple[list[str], list[str]]  # videos of one side
    videos: list[VideoAgreement]
    crop_order: list[int] | None  # crops of the second that fit those of the first, if others
    least: float = LEAST_COSINE

    @property
    def lowest(self) -> VideoAgreement | None:
        """The video with the lowest cosine."""
        return min(self.videos, key=lambda video: video.lowest, default=None)

    @property
    def same(self) -> bool:
        """No field differs, and no length, and every cosine is high."""
        return (
            self.same_recipe is not False
            and self.shapes[0] == self.shapes[1]
            and all(v.n_snippets[0] == v.n_snippets[1] for v in self.videos)
            and all(v.lowest >= self.least for v in self.videos)
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
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

    Videos are matched by name, but two sides of one video each are taken for the same one.
    name: of the array in stores, `i3d` or `text/minilm`; without it the only one. layout, axes: of
    files, where names or shapes leave them open. Raises UsageError if the sides have nothing to
    compare.
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
    ours: dict[str, Any] | None, theirs: dict[str, Any] | None
) -> tuple[dict[str, tuple[Any, Any]], dict[str, tuple[Any, Any]], bool | None]:
    """Fields that differ, fields that inform, and whether the recipes are the same."""
    if ours is None or theirs is None or "imported" in ours or "imported" in theirs:
        return {}, {}, None
    one, two = flatten(ours), flatten(theirs)
    pairs = {n: (one.get(n), two.get(n)) for n in sorted(one.keys() | two.keys())}
    differing = {n: pair for n, pair in pairs.items() if pair[0] != pair[1]}
    informing = {n: pair for n, pair in differing.items() if n.split(".")[0] in INFORMING}
    recipe = {n: pair for n, pair in differing.items() if n not in informing}
    return recipe, informing, not recipe


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by dotted names: `{"recipe": {"std": 1}}` -> `{"recipe.std": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


# --- numbers


@dataclass
class _CropTally:
    """Cosines of every crop of one side with every crop of the other, summed over snippets."""

    n_crops: int
    sums: NDArray[np.float64] = field(init=False)
    n: int = 0

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.n_crops, self.n_crops))

    def add(self, ours: Floats, theirs: Floats) -> None:
        self.sums += np.einsum("scd,skd->ck", ours, theirs)
        self.n += len(ours)

    def order(self) -> list[int] | None:
        """The order of their crops that fits ours clearly better than theirs."""
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


def _unit(features: NDArray[Any]) -> tuple[Floats, Floats]:
    """Vectors of length 1, and the lengths that they had. A vector of zeros stays one."""
    features = features.astype(np.float32)
    norms = np.linalg.norm(features, axis=-1)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)[..., None], norms


def _mean(blocks: Iterable[Floats]) -> float:
    return float(np.concatenate(list(blocks)).mean())


def _seconds(one: Side, two: Side, pair: tuple[str, str], snippet: int) -> float:
    """When a snippet begins, by the side that knows; at 30 frames a second, if none does."""
    known = (side.seconds(video, snippet) for side, video in zip((one, two), pair, strict=True))
    return next((time_s for time_s in known if time_s is not None), snippet * CLIP_FRAMES / 30)
