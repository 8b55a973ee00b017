"""The split of labelled videos into training, validation and test videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vad.errors import UsageError
from vad.labels import Label

FEW = 5  # videos of a class; with 5 and 5, random scores have an AUC of 0.5 +- 0.19


@dataclass(frozen=True)
class Split:
    """Videos by purpose. No video, and no `source`, is in two of the lists."""

    train: list[Label]
    validation: list[Label]
    test: list[Label]
    select: Literal["validation", "test"] = "validation"

    @property
    def selection_videos(self) -> list[Label]:
        """Return the videos on which epoch and threshold are chosen."""
        return self.test if self.select == "test" else self.validation

    @property
    def n_selection_videos(self) -> dict[str, int]:
        """Return the number of selection videos of each label: {"normal": n, "abnormal": m}."""
        return self.n_of(self.selection_videos)

    @staticmethod
    def n_of(labels: Sequence[Label]) -> dict[str, int]:
        """Return the number of videos of each label: {"normal": n, "abnormal": m}."""
        n_abnormal = sum(label.label for label in labels)
        return {"normal": len(labels) - n_abnormal, "abnormal": n_abnormal}

    @property
    def doubt(self) -> str:
        """Return a warning with advice if there are too few selection videos, else an empty string.

        With fewer than `FEW` videos of a class the choice is little better than chance.
        """
        if not self.selection_videos or min(self.n_selection_videos.values()) >= FEW:
            return ""
        words = " and ".join(f"{n} {kind}" for kind, n in self.n_selection_videos.items())
        advice = "label more"
        if self.select == "validation":
            advice += ", raise --validation, or set it to 0 for the last epoch"
        return f"only {words} videos choose epoch and threshold, close to chance: {advice}"

    @property
    def parts(self) -> dict[str, tuple[Label, ...]]:
        """Return the videos of every part, with only those label columns that a card records."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            part: tuple(Label(x.video, x.label, x.category, source=x.source) for x in labels)
            for part, labels in parts.items()
        }


def split_videos(
    labels: Sequence[Label],
    *,
    validation: float,
    seed: int,
    fold: str | None = None,
    select: Literal["validation", "test"] = "validation",
    stored: Container[str] | None = None,
    one_class: bool = False,
    where: str = "the labels",
) -> Split:
    """Split labelled videos by their `split` column, or hold out one fold as the test set.

    A share `validation` of the training videos is drawn for validation, stratified by label and
    category; videos of one source stay together. If the `split` column has `val` or `validation`,
    those videos are taken instead. Without a `split` column and a fold there are no test videos. If
    `select` is "test", no validation videos are drawn. Videos that are not in `stored` are left out
    of training and validation, but not of the test set, so that a missing test video is noticed
    later. With `one_class` training videos may all be normal. where: the file that messages name.

    Raises UsageError if a split or fold is unknown, or if training videos, validation videos or
    (with `select` "test") test videos lack one of the two labels.
    """
    if fold is not None:
        folds = sorted({label.fold for label in labels})
        if fold not in folds or folds == [""]:
            raise UsageError(f"no fold {fold!r} in {where}; there are: {', '.join(folds)}")
        test = [label for label in labels if label.fold == fold]
        rest = [label for label in labels if label.fold != fold]
        chosen: list[Label] = []
    else:
        known = ("", "train", "val", "validation", "test")
        if wrong := [label for label in labels if label.split not in known]:
            raise UsageError(
                f"{where}: the split of {wrong[0].video!r} is {wrong[0].split!r}",
                hint="write train, validation or test",
            )
        test = [label for label in labels if label.split == "test"]
        rest = [label for label in labels if label.split in ("", "train")]
        chosen = [label for label in labels if label.split in ("val", "validation")]
    if stored is not None:
        rest = [label for label in rest if label.video in stored]
        chosen = [label for label in chosen if label.video in stored]
    if not chosen and validation > 0 and select == "validation":
        chosen = draw(rest, validation, seed)
    left = {label.video for label in chosen}
    train = [label for label in rest if label.video not in left]
    if not one_class or not any(label.label == 0 for label in train):
        _require_both("training", train)
    if chosen:
        _require_both("validation", chosen)
    if select == "test":
        _require_both("test", test)
    return Split(train, chosen, test, select)


def draw(labels: Sequence[Label], share: float, seed: int) -> list[Label]:
    """Draw a random share of the videos, stratified by category, with at least one of each label.

    Videos of one source are drawn together or not at all.
    """
    groups: dict[str, list[Label]] = {}
    for label in labels:
        groups.setdefault(label.source or label.video, []).append(label)
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = [list(groups.values())[index] for index in order]
    wanted = _shares(labels, share)
    drawn: list[Label] = []
    for group in shuffled:
        needs = Counter(map(_stratum, group))
        if all(wanted[stratum] >= n for stratum, n in needs.items()):
            drawn += group
            wanted -= needs
    for value in (0, 1):  # if every source of a class is too large, take the smallest one
        if not any(label.label == value for label in drawn):
            left = [g for g in shuffled if any(label.label == value for label in g)]
            for smallest in sorted(left, key=len)[:1]:
                drawn += smallest
    return sorted(drawn, key=lambda label: label.video)


def _shares(labels: Sequence[Label], share: float) -> Counter[str]:
    """Return how many videos to draw of every stratum (label and category).

    This is the rounded share of the stratum. The sum over the strata of a label must be the rounded
    share of all videos of that label, so the strata with the largest rounding error are adjusted by
    one. For UCF-Crime at 10 %: 5 of 48 videos of abuse, 4 of 45 of arrest, ..., 81 of 810 abnormal
    ones.
    """
    wanted: Counter[str] = Counter()
    for value in (0, 1):
        sizes = Counter(_stratum(label) for label in labels if label.label == value)
        rounded = Counter({stratum: round(share * n) for stratum, n in sizes.items()})
        total = max(1, round(share * sizes.total())) if sizes else 0
        while (short := total - rounded.total()) != 0:
            loss = {s: share * n - rounded[s] for s, n in sizes.items()}
            step = 1 if short > 0 else -1
            rounded[max(loss, key=lambda s: (step * loss[s], sizes[s]))] += step
        wanted += rounded
    return wanted


def _stratum(label: Label) -> str:
    return f"{label.label} {label.category}"


def _require_both(what: str, labels: Sequence[Label]) -> None:
    for value, word in ((0, "normal"), (1, "abnormal")):
        if not any(label.label == value for label in labels):
            raise UsageError(
                f"{what} has no {word} video among {len(labels)}",
                hint="label more videos, or change --validation, --seed or --fold",
            )
