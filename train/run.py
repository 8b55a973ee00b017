"""`vad train`: store and labels in, a run folder out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import vad
from vad.device import choose_device
from vad.errors import UsageError
from vad.files import write_json
from vad.labels import Label, match, read_labels
from vad.progress import meter
from vad.store import FeatureStore

from .bags import Bags, load_bags
from .checkpoint import CARD, SCHEMA, Run, features_card
from .choices import split_settings
from .detectors import Detector, create_detector, find_row
from .detectors.published import fill
from .dictionary import make_dictionary
from .fit import Fit, fit
from .history import History
from .metrics import best_threshold
from .scaling import Scaling
from .settings import TrainSettings
from .split import Split, split_videos
from .streams import KINDS, Inputs, Names, choose_streams, read_streams, shapes_of
from .weights import read_weights, recognised

log = logging.getLogger("vad")

COMPONENTS_A_VIDEO = 2  # of the features, as many as a training video can be asked to tell apart
STATE, PLAN = "state.safetensors", "plan.json"  # of an unfinished run


def train(
    store: str | Path,
    labels: str | Path,
    out: str | Path = "runs/rtfm",
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train a detector from video-level labels, and open the run it leaves in `out`.

    `settings` are those of `TrainSettings` and of the detector. Raises UsageError for wrong input.
    """
    chosen, own = split_settings(settings)
    return train_run(
        Path(store),
        Path(labels),
        Path(out),
        chosen,
        own,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
    )


def train_run(
    store_path: Path,
    labels_path: Path,
    out: Path,
    settings: TrainSettings,
    own: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> Run:
    """Train with settings that are built already; see `train`."""
    if (out / CARD).exists() and not overwrite:
        raise UsageError(f"{out} holds a finished run", hint="choose another --out, or --overwrite")
    store = FeatureStore.open(store_path)
    names, split = _videos(store, labels_path, settings, own)
    features = _features(store, names, split, settings)
    stretch = settings.form == "published"
    videos = split.train + split.judges
    bags = load_bags(store, names, videos, settings.segments, stretch=stretch, quiet=quiet)
    train_bags, judge_bags = bags.split(len(split.train))
    inputs = _inputs(train_bags, settings)
    visual_dim, text_dim = inputs.dims(bags.widths)
    plan: dict[str, Any] = {
        "schema": SCHEMA,
        "vad": vad.__version__,
        "detector": {
            "name": settings.detector,
            "visual_dim": visual_dim,
            "text_dim": text_dim,
            "settings": dict(own),
        },
        "training": asdict(settings),
        "features": features,
        "data": {"labels": str(labels_path)}
        | {part: _listed(getattr(split, part)) for part in ("train", "validation", "test")},
    }
    going_on = _goes_on(out, plan, resume=resume)
    detector = _new_detector(plan["detector"], settings, _arrays(settings, own, train_bags, inputs))
    device = choose_device(settings.device)
    state = Fit.begin(detector.to(device), settings)
    if going_on:
        state.load(out / STATE)
        log.info("going on after epoch %d", state.epoch)
    else:
        write_json(out / PLAN, plan)
    inputs = inputs.to(device)
    n_epochs = settings.epochs - state.epoch
    with (
        History(out, state.epoch) as history,
        meter("train", n_epochs, unit="epochs", quiet=quiet) as progress,
    ):
        fit(
            state,
            train_bags,
            judge_bags,
            inputs,
            settings,
            history=history,
            state_path=out / STATE,
            progress=progress,
        )
        chosen = next(r for r in history.rows if r["epoch"] == state.best_epoch)
    detector.load_state_dict(state.best_weights)
    return _finish(Run(out, plan, detector, inputs), store, split, chosen)


def _videos(
    store: FeatureStore, labels_path: Path, settings: TrainSettings, own: Mapping[str, Any]
) -> tuple[dict[str, str], Split]:
    """The arrays to read, and which of the videos that have them train, validate and test."""
    given = {"visual": settings.visual, "text": settings.text}
    names = choose_streams(store, given, needed=find_row(settings.detector).kinds(own))
    stored = [i for i in store.ids() if set(names.values()) <= set(store.names(i))]
    split = split_videos(
        match(read_labels(labels_path), stored, where=labels_path, missing="keep"),
        validation=settings.validation,
        seed=settings.seed,
        fold=settings.fold,
        select=settings.select,
        stored=set(stored),
    )
    return names, split


def _new_detector(
    made: Mapping[str, Any], settings: TrainSettings, arrays: Mapping[str, NDArray[np.float32]]
) -> Detector:
    """A detector at its start: drawn by the seed, or with the weights that the settings name."""
    torch.manual_seed(settings.seed)
    detector = create_detector(
        made["name"],
        visual_dim=made["visual_dim"],
        text_dim=made["text_dim"],
        settings=made["settings"],
        arrays=arrays,
    )
    if settings.weights:
        _, sizes = recognised(settings.weights)
        if (sizes.visual_dim, sizes.text_dim) != (detector.visual_dim, detector.text_dim):
            raise UsageError(
                f"{settings.weights} reads features of {sizes.visual_dim} values"
                f"{f' and text of {sizes.text_dim}' if sizes.text_dim else ''}, here there are "
                f"{detector.visual_dim}{f' and {detector.text_dim}' if detector.text_dim else ''}",
                hint="start from weights that were trained on such features, with --scale none",
            )
        fill(detector, made["name"], read_weights(settings.weights))
    return detector


def _features(
    store: FeatureStore, names: Names, split: Split, settings: TrainSettings
) -> dict[str, Any]:
    """What the card says of the features: which arrays, how wide, and what made them."""
    shapes = shapes_of(store, names, split.train[0].video)
    made = {kind: store.provenance(name) for kind, name in names.items()}
    for provenance in made.values():
        weights = (provenance or {}).get("weights")
        if isinstance(weights, dict) and weights.get("random") and not settings.allow_random:
            raise UsageError(
                f"{store.path} holds features of random weights, which mean nothing",
                hint="extract with real weights, or --allow-random in a test",
            )
    widths = {kind: dim for kind, (_, _, dim) in shapes.items()}
    crops = max(n_crops for _, n_crops, _ in shapes.values())
    return features_card(store.path, names, widths, crops=crops, made=made)


def _listed(labels: Sequence[Label]) -> list[dict[str, Any]]:
    return [{"video": x.video, "label": x.label, "category": x.category} for x in labels]


def _goes_on(out: Path, plan: Mapping[str, Any], *, resume: bool) -> bool:
    """Whether there is an unfinished run to go on with; UsageError if it is of other settings."""
    if not resume or not (out / STATE).exists():
        return False
    before = json.loads((out / PLAN).read_text(encoding="utf-8"))
    for part in ("detector", "training", "features", "data"):
        old, new = before[part], json.loads(json.dumps(plan[part]))
        if differing := [n for n in new if n != "epochs" and old.get(n) != new[n]]:
            raise UsageError(
                f"{out} was begun with another {part} {differing[0]}",
                hint="use the same settings, or train anew without --resume",
            )
    return True


def _inputs(bags: Bags, settings: TrainSettings) -> Inputs:
    scalings = {kind: _scaling(bags.rows(kind), len(bags), settings) for kind in bags.streams}
    return Inputs(scalings, apart=find_row(settings.detector).text and len(scalings) == len(KINDS))


def _scaling(rows: NDArray[np.float32], n_videos: int, settings: TrainSettings) -> Scaling:
    if settings.scale == "none":
        return Scaling()
    scaling = Scaling.standardise(rows)
    n = settings.components or COMPONENTS_A_VIDEO * n_videos
    if settings.scale == "standardise" or n >= rows.shape[1]:
        return scaling
    return scaling.with_components(rows, n)


def _arrays(
    settings: TrainSettings, own: Mapping[str, Any], bags: Bags, inputs: Inputs
) -> dict[str, NDArray[np.float32]]:
    """What a detector is given besides features: S3R a dictionary of the normal training videos."""
    if "dictionary" not in find_row(settings.detector).arrays:
        return {}
    cpu = torch.device("cpu")
    videos = []
    for index in np.flatnonzero(bags.labels == 0):
        streams, _, _ = bags.take(np.array([index]), cpu)
        videos.append(inputs(streams)[0][0].transpose(0, 1).numpy())
    return {"dictionary": make_dictionary(videos, percent=own["atoms"])}


def _finish(run: Run, store: FeatureStore, split: Split, chosen: Mapping[str, float]) -> Run:
    """Choose the threshold on the videos that judge, and write weights and card."""
    threshold = 0.5
    if split.judges:
        peaks = [
            run.score(**read_streams(store, run.names, label.video)).max() for label in split.judges
        ]
        threshold = best_threshold([label.label for label in split.judges], peaks)
    run.card = {
        **run.card,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_parameters": sum(p.numel() for p in run.detector.parameters()),
        "selection": {
            "on": split.select if split.judges else "nothing: the last epoch",
            "epoch": int(chosen["epoch"]),
            "figures": {n: v for n, v in chosen.items() if n != "epoch"},
        },
        "threshold": threshold,
    }
    run.save()
    for left in (STATE, PLAN):
        (run.path / left).unlink(missing_ok=True)
    return run
