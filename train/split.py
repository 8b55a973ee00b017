"""Which videos train, validate and test a detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vad.errors import UsageError
from vad.labels import Label

FEW = 5  # videos of a class: of 5 and 5, the AUC of mere guesses is 0.5 +- 0.19, at any epoch


@dataclass(frozen=True)
class Split:
    """Videos by what they are for. No video, and no `source`, is in two of them."""

    train: list[Label]
    validation: list[Label]
    test: list[Label]
    select: Literal["validation", "test"] = "validation"

    @property
    def selection_videos(self) -> list[Label]:
        """The videos that choose the epoch and the threshold."""
        return self.test if self.select == "test" else self.validation

    @property
    def n_selection_videos(self) -> dict[str, int]:
        """How many of them there are of either label."""
        n_abnormal = sum(label.label for label in self.selection_videos)
        return {"normal": len(self.selection_videos) - n_abnormal, "abnormal": n_abnormal}

    @property
    def doubt(self) -> str:
        """Why they choose little better than chance, and what to do; empty where they do not."""
        if not self.selection_videos or min(self.n_selection_videos.values()) >= FEW:
            return ""
        words = " and ".join(f"{n} {kind}" for kind, n in self.n_selection_videos.items())
        advice = "label more"
        if self.select == "validation":
            advice += ", raise --validation, or set it to 0 for the last epoch"
        return f"only {words} videos choose epoch and threshold, close to chance: {advice}"

    @property
    def parts(self) -> dict[str, tuple[Label, ...]]:
        """The videos of every part, with what a card keeps of them."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            part: tuple(Label(x.video, x.label, x.category) for x in labels)
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
) -> Split:
    """Split labelled videos by their `split` column, or hold out one fold.

    A share `validation` of the training videos is drawn for validation, stratified by category
    (or label), whole sources at a time; a `split` of `val` or `validation` is used instead where
    the file has one. Without a `split` column and a fold, no video is for testing. Where the test
    videos select, none is drawn: all others train. Only `stored` videos train and validate; the
    test videos are all of them, so that none is left out unseen.

    Raises UsageError for unknown splits or folds, and where training or validation would lack
    normal or abnormal videos.
    """
    if fold is not None:
        folds = sorted({label.fold for label in labels})
        if fold not in folds or folds == [""]:
            raise UsageError(f"no fold {fold!r} in the labels; there are: {', '.join(folds)}")
        test = [label for label in labels if label.fold == fold]
        rest = [label for label in labels if label.fold != fold]
        chosen: list[Label] = []
    else:
        parts = {label.split for label in labels}
        if wrong := parts - {"", "train", "val", "validation", "test"}:
            raise UsageError(
                f"the labels have a split {min(wrong)!r}", hint="write train, validation or test"
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
    _require_both("training", train)
    if chosen:
        _require_both("validation", chosen)
    if select == "test":
        _require_both("test", test)
    return Split(train, chosen, test, select)


def draw(labels: Sequence[Label], share: float, seed: int) -> list[Label]:
    """A random share of the videos, of each category alike, at least one of each label.

    Videos of one source come together or not at all.
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
    for value in (0, 1):  # a class of large sources only: take the smallest of them
        if not any(label.label == value for label in drawn):
            left = [g for g in shuffled if any(label.label == value for label in g)]
            for smallest in sorted(left, key=len)[:1]:
                drawn += smallest
    return sorted(drawn, key=lambda label: label.video)


def _shares(labels: Sequence[Label], share: float) -> Counter[str]:
    """How many videos of every stratum: its rounded share, and of each label the rounded share.

    UCF-Crime at 10 %: 48 videos of abuse give 5, 45 of arrest 4, ...: 81 of 810 abnormal ones.
    Where many small strata all round down, those that lose most give one more.
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
