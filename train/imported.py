"""`vad import detector`: published weights to a run that scores and evaluates like one of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vad.version import VERSION
from vad.config import build
from vad.errors import UsageError
from vad.store import FeatureStore

from .checkpoint import CARD, SCHEMA, Run, features_card
from .detectors import create_detector, find_row
from .detectors.published import check_asked, fill
from .scaling import Scaling
from .streams import KINDS, Inputs, choose_streams, shapes_of
from .weights import read_dictionary, read_weights, recognised

USUAL = {"visual": "visual/i3d", "text": "text/simcse"}  # what most published weights were made for


def import_detector(
    weights: str | Path,
    out: str | Path,
    *,
    detector: str | None = None,
    store: str | Path | None = None,
    visual: str | None = None,
    text: str | None = None,
    dictionary: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Run:
    """Write a run with published weights, and open it.

    The detector is recognised by the weights' names and its sizes by their shapes; `settings` are
    what those do not tell. With `store`, the run is for its features: their width is checked, and
    what made them is noted, so that videos can be scored directly; without, the run is for any
    store that has arrays of that name and width. Features are not scaled and scores not smoothed,
    as published. Raises UsageError where the file or the features do not fit.
    """
    out = Path(out)
    if (out / CARD).exists() and not overwrite:
        raise UsageError(f"{out} holds a finished run", hint="choose another --out, or --overwrite")
    name, sizes = recognised(weights, detector)
    own = asdict(build(find_row(name).settings, sizes.settings, settings, where=name))
    check_asked(name, sizes, settings)
    if "dictionary" in find_row(name).arrays and dictionary is None:
        raise UsageError(
            f"{name} needs the dictionary that it was trained with",
            hint="give the .npy file beside the weights: --dictionary FILE",
        )
    made = create_detector(
        name,
        visual_dim=sizes.visual_dim,
        text_dim=sizes.text_dim,
        settings=own,
        arrays={} if dictionary is None else {"dictionary": read_dictionary(dictionary)},
    )
    fill(made, name, read_weights(weights))
    dims = {"visual": sizes.visual_dim, "text": sizes.text_dim}
    card = {
        "schema": SCHEMA,
        "vad": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "imported": {"file": str(weights), "sha256": _sha256(Path(weights))},
        "detector": {"name": name, "settings": own}
        | {f"{kind}_dim": dim for kind, dim in dims.items()},
        "training": {"smoothing": 0},
        "features": _features(store, {"visual": visual, "text": text}, dims),
        "data": {"labels": None, "train": [], "validation": [], "test": []},
        "n_parameters": sum(p.numel() for p in made.parameters()),
        "selection": {"on": "imported weights: chosen by their authors", "figures": {}},
        "threshold": 0.5,
    }
    inputs = Inputs(
        {kind: Scaling() for kind in KINDS if dims[kind]}, apart=sizes.text_dim is not None
    )
    run = Run(out, card, made, inputs)
    run.save()
    return run


def _features(
    store: str | Path | None, given: Mapping[str, str | None], dims: Mapping[str, int | None]
) -> dict[str, Any]:
    """What the card says of the features: those of `store`, or any of these names and widths."""
    kinds = [kind for kind in KINDS if dims[kind]]
    if store is None:
        names = {k: f"{k}/{given[k]}" if given[k] else USUAL[k] for k in kinds}
        return features_card("features.zarr", names, dims, crops=None, made={})
    opened = FeatureStore.open(store)
    names = choose_streams(opened, given, needed=kinds)
    first = next(iter(opened.having(*names.values())), None)
    if first is None or names.keys() != set(kinds):
        raise UsageError(f"{store} has no video with {' and '.join(names.values())}")
    shapes = shapes_of(opened, names, first)
    for kind, (_, _, dim) in shapes.items():
        if dim != dims[kind]:
            raise UsageError(
                f"these weights read {kind} features of {dims[kind]} values, {names[kind]} in "
                f"{store} has {dim}",
                hint="extract with the backbone that they were trained on",
            )
    made = {kind: opened.provenance(name) for kind, name in names.items()}
    return features_card(store, names, dims, crops=shapes["visual"][1], made=made)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
