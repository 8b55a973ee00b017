"""Load what a training needs: store and labels to bags, their scaling, and a new detector.

`vad train` loads the data once, `vad tune` once per validation split.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.labels import Label, Labels, match, name_of, read_labels
from vad.store import FeatureStore

from .bags import Bags, load_bags, whole
from .card import Stream
from .detectors import Detector, create_detector, find_row
from .detectors.published import fill
from .kinds import NORMAL
from .reviewed import count_verdicts, relabelled, reviewed_bags, reviews_for
from .settings import TrainSettings
from .split import Split, split_videos
from .streams import KINDS, Inputs, Scaling, choose_streams, stored_streams
from .weights import read_scalings, read_weights, recognised, videos_of_run

log = logging.getLogger("vad")

# principal components per training video, unless the setting `components` is given
COMPONENTS_A_VIDEO = 2
MOST_WEIGHTS = 500_000_000  # of a detector; the largest published one has 30 million


@dataclass(frozen=True)
class TrainingData:
    """The bags of the training and selection videos, and how their features are scaled."""

    store: FeatureStore
    names: Mapping[str, str]  # the arrays to read, by kind
    split: Split
    train: Bags
    # bags of the videos that epoch and threshold are chosen on; None if there are none
    selection: Bags | None
    inputs: Inputs
    verdicts: Mapping[str, int]  # number of reviewed events by verdict

    @property
    def dims(self) -> tuple[int, int | None]:
        """Return the visual and the text width of the detector's input; the latter may be None."""
        return self.inputs.dims(self.train.widths)

    def streams(self) -> tuple[Stream, ...]:
        """Return the entries of the card that describe the features: name, width, crops and
        provenance.
        """
        return stored_streams(self.store, self.names, self.split.train[0].video)

    def detector(self, settings: TrainSettings, own: Mapping[str, object]) -> Detector:
        """Return a new detector with seeded random weights, or those that the settings name.

        Raises UsageError if the file `settings.weights` was trained on features of another width.
        """
        own = self.completed(own)
        arrays = self._arrays(settings, own)
        visual_dim, text_dim = self.dims
        create = partial(
            create_detector,
            settings.detector,
            visual_dim=visual_dim,
            text_dim=text_dim,
            settings=own,
            arrays=arrays,
        )
        _check_size(create, settings.detector)
        torch.manual_seed(settings.seed)
        detector = create()
        if settings.weights:
            _, sizes = recognised(settings.weights)
            if (sizes.visual_dim, sizes.text_dim) != (detector.visual_dim, detector.text_dim):
                raise UsageError(
                    f"{settings.weights} reads features of {sizes.visual_dim} values"
                    f"{f' and text of {sizes.text_dim}' if sizes.text_dim else ''}, here there are "
                    f"{visual_dim}{f' and {text_dim}' if text_dim else ''}",
                    hint="start from weights that were trained on such features, with --scale none",
                )
            self._check_videos_of(settings.weights)
            fill(detector, settings.detector, read_weights(settings.weights))
        if own.get("tower"):
            _attach_tower(detector, str(own["tower"]))
        return detector

    def _check_videos_of(self, weights: str) -> None:
        """Warn if a run that training starts from knows validation videos. Raises UsageError if it
        knows test videos.
        """
        known = videos_of_run(weights)
        if leaked := sorted({x.video for x in self.split.test} & known):
            raise UsageError(
                f"{weights} was trained or chosen on {len(leaked)} of the test videos, such as "
                f"{leaked[0]}",
                hint="start from other weights, or leave these videos out of the test",
            )
        if n_seen := len({x.video for x in self.split.validation} & known):
            log.warning(
                "%s was trained or chosen on %d of the %d validation videos, so their figures are "
                "too good",
                *(weights, n_seen, len(self.split.validation)),
            )

    def completed(self, own: Mapping[str, object]) -> dict[str, object]:
        """Return the detector's settings `own` with those that the data or a text tower tells.

        These are the classes, by the categories of the training videos, and the width of the tower.
        Raises UsageError if a category cannot be the name of a class.
        """
        found = dict(own)
        if "classes" in own and own["classes"] is None:
            found["classes"] = _classes_of(self.split.train)
        elif own.get("classes"):
            _tell_unknown(self.split.train, str(own["classes"]).split(","))
        if own.get("tower"):
            from .blocks.clip import open_tower

            found["text_width"] = open_tower(str(own["tower"])).width
        return found

    def _arrays(
        self, settings: TrainSettings, own: Mapping[str, Any]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that a detector needs beside features: for S3R a dictionary, else none.

        The dictionary is learnt from the normal training videos.
        """
        if "dictionary" not in find_row(settings.detector).arrays:
            return {}
        from .detectors.s3r import make_dictionary

        cpu = torch.device("cpu")
        videos = []
        for index in np.flatnonzero(self.train.labels == 0):
            streams, _, _ = self.train.take(np.array([index]), cpu)
            videos.append(self.inputs(streams)[0][0].transpose(0, 1).numpy())
        return {"dictionary": make_dictionary(videos, percent=own["atoms"])}


def _classes_of(labels: Iterable[Label]) -> str | None:
    """Return "normal" and the categories of abnormal videos, as the setting `classes` has them.

    None if no abnormal video has a category.
    """
    named = {name for x in labels if x.label for name in x.category.split("+") if name}
    if wrong := [name for name in named if "," in name or name == NORMAL]:
        raise UsageError(
            f"the category {wrong[0]!r} of an abnormal video cannot be the name of a class",
            hint=f"rename it in the labels: without commas, and not {NORMAL}",
        )
    return ",".join([NORMAL, *sorted(named)]) if named else None


def _tell_unknown(labels: Iterable[Label], classes: Sequence[str]) -> None:
    """Log the categories of abnormal videos that are no class of the detector."""
    named = {name for x in labels if x.label for name in x.category.split("+") if name}
    if unknown := sorted(named.difference(classes)):
        log.warning(
            "no class is called %s: videos of this category count as of unknown class",
            " or ".join(map(repr, unknown)),
        )


def _attach_tower(detector: Detector, model: str) -> None:
    from .blocks.clip import open_tower, tokenize
    from .detectors.vadclip import ClassDetector

    if isinstance(detector, ClassDetector):
        tower = open_tower(model)
        if tower.dim != detector.visual_dim and detector.reads_projection:
            raise UsageError(
                f"the text tower of {model} gives vectors of {tower.dim} values, the features have "
                f"{detector.visual_dim}",
                hint="train on image features of the same CLIP, with --scale none",
            )
        detector.attach(tower, tokenize(model, detector.classes))


def _check_size(create: Callable[[], Detector], name: str) -> None:
    """Raise UsageError if a detector would have too many weights; it takes no memory for them."""
    try:
        with torch.device("meta"):
            n = sum(weights.numel() for weights in create().parameters())
    except (RuntimeError, OverflowError):  # by torch, for sizes beyond 64 bits
        n = 2**63
    if n > MOST_WEIGHTS:
        raise UsageError(
            f"{name} would have {n:,} weights, at most {MOST_WEIGHTS:,}",
            hint="set a smaller width",
        )


def load_training_data(
    store_path: str | Path,
    labels: Labels,
    settings: TrainSettings,
    own: Mapping[str, object],
    *,
    reviews: str | Path | None = None,
    quiet: bool,
) -> TrainingData:
    """Load the bags, the split and the feature scaling of a training.

    reviews: a file of verdicts on events, see `reviewed`.

    Raises UsageError if store, labels and settings do not fit together.
    """
    store = FeatureStore.open(store_path)
    given = {"visual": settings.visual, "text": settings.text}
    names = choose_streams(store, given, needed=find_row(settings.detector).kinds(own))
    stored = store.having(*names.values())
    split = split_videos(
        match(
            read_labels(labels),
            stored,
            where=name_of(labels),
            missing="keep",
            stored_as=f"stored with {' and '.join(names.values())}",
        ),
        validation=settings.validation,
        seed=settings.seed,
        fold=settings.fold,
        select=settings.select,
        stored=set(stored),
        where=name_of(labels),
    )
    if not settings.allow_random:
        refuse_random(store, names.values())
    reviewed = reviews_for(reviews, store, split)
    split = replace(split, train=relabelled(store, split.train, reviewed))
    trained_on = reviewed_bags(store, split.train, reviewed)
    bags = load_bags(
        store,
        names,
        trained_on + whole(split.selection_videos),
        settings.segments,
        stretch=settings.form == "published" and not find_row(settings.detector).pads,
        quiet=quiet,
    )
    train, selection = bags.split(len(trained_on))
    inputs = _inputs(train, len(split.train), settings)
    return TrainingData(store, names, split, train, selection, inputs, count_verdicts(reviewed))


def refuse_random(store: FeatureStore, names: Iterable[str]) -> None:
    """Raise UsageError if one of these arrays was made by random weights."""
    for name in names:
        made = store.provenance(name)
        if made and made.weights and made.weights.random:
            raise UsageError(
                f"{store.backend} holds features of random weights, which mean nothing",
                hint="extract with real weights, or --allow-random in a test",
            )


def _inputs(bags: Bags, n_videos: int, settings: TrainSettings) -> Inputs:
    own = read_scalings(settings.weights) if settings.weights else {}
    scalings = {
        kind: own.get(kind) or scaling_of(bags.rows(kind), COMPONENTS_A_VIDEO * n_videos, settings)
        for kind in bags.streams
    }
    for kind, scaling in scalings.items():
        if scaling.features_dim not in (None, bags.widths[kind]):
            raise UsageError(
                f"{settings.weights} reads {kind} features of {scaling.features_dim} values, here "
                f"there are {bags.widths[kind]}",
                hint="start from weights that were trained on such features",
            )
    return Inputs(scalings, apart=find_row(settings.detector).text and len(scalings) == len(KINDS))


def scaling_of(rows: NDArray[np.float32], components: int, settings: TrainSettings) -> Scaling:
    """Return the scaling that the settings name, of rows [rows, dim] of training videos.

    components: number of principal components, if the settings name none.
    """
    if settings.scale == "none":
        return Scaling()
    scaling = Scaling.standardise(rows)
    n = settings.components or components
    if settings.scale == "standardise" or n >= rows.shape[1]:
        return scaling
    return scaling.with_components(rows, n)
