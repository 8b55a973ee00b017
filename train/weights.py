"""Read files of detector weights, published ones or those of a run, and make a run of such a file.

No file is unpickled into Python objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vad.checkpoints import read_weights_file
from vad.config import build
from vad.errors import UsageError
from vad.files import sha256_of
from vad.store import FeatureStore

from .card import CARD, Card, Imported, Member, Selection, Stream, now, read_card
from .detectors import Detector, create_detector, find_row
from .detectors.published import Sizes, check_asked, fill, sizes_of, unwrap
from .run import (
    PREFIXES,
    WEIGHTS,
    Run,
    TrainedMember,
    member_folder,
    store_hint,
    weights_file,
    with_prefix,
)
from .settings import TrainSettings
from .streams import KINDS, Inputs, Scaling, choose_streams, shapes_of

# arrays that most published weights were trained on
USUAL = {"visual": "visual/i3d", "text": "text/simcse"}
NOT_PROVEN = "not proven equal to the features that the weights were trained on"


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the weights of a detector from a file, or from a run folder with one member.

    Wrappers of training scripts and common name prefixes are removed, and so are tensors of a run
    that do not belong to the detector. Raises UsageError if the file is missing or damaged, has no
    weights, has values that are not finite, or has pickled objects, which could run code when
    loaded.
    """
    path = _file(path)
    weights = unwrap(read_weights_file(path))
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise UsageError(f"{path}: {name} holds values that are not finite")
    return weights


def read_scalings(path: str | Path) -> dict[str, Scaling]:
    """Return the feature scalings in the weights file of a run, by kind; empty for other files."""
    tensors = read_weights_file(_file(path))
    parts = {kind: with_prefix(tensors, prefix) for kind, prefix in PREFIXES.items()}
    return {kind: Scaling.from_tensors(part) for kind, part in parts.items() if part}


def recognised(path: str | Path, detector: str | None = None) -> tuple[str, Sizes]:
    """Return the name of the detector that weights belong to, and its sizes and settings.

    For a run they are read from its card, for other files from the shapes of the weights. Raises
    UsageError if `detector` is given and the weights are of another one.
    """
    if member := _own_member(_file(path)):
        sizes = Sizes(member.visual_dim, member.text_dim, dict(member.settings))
        name = member.detector
    else:
        name, sizes = sizes_of(read_weights(path))
    if detector not in (None, name):
        raise UsageError(
            f"{path} holds weights of {name}, not of {detector}", hint=f"--detector {name}"
        )
    return name, sizes


def _file(path: str | Path) -> Path:
    """Return the path of a weights file; for a run folder with one member, that of its weights.

    Raises UsageError if the run has several members or the file does not exist.
    """
    path = Path(path)
    if (path / CARD).is_file():
        if len(read_card(path).members) > 1:
            raise UsageError(
                f"{path} has several members", hint=f"name one: {member_folder(path, 0) / WEIGHTS}"
            )
        path = weights_file(path, 0)
    if not path.is_file():
        raise UsageError(f"no file {path}", hint="name a file of weights, or the folder of a run")
    return path


def videos_of_run(path: str | Path) -> set[str]:
    """Return the videos that the run of some weights was trained or chosen on, and those of the run
    that its own training started from; none for files of others.
    """
    run = _run_of(_file(path))
    if run is None:
        return set()
    card = read_card(run)
    videos = {
        label.video for part in ("train", "validation") for label in card.videos.get(part, ())
    }
    before = card.training.weights if card.training else None
    return videos | (videos_of_run(before) if before and Path(before).exists() else set())


def _run_of(file: Path) -> Path | None:
    """Return the run that a weights file lies in, or None."""
    # where the card is for a run of vad 0.1.0, and for members/N/
    above = [file.parent, *file.parents[2:3]]
    return next((folder for folder in above if (folder / CARD).is_file()), None)


def _own_member(file: Path) -> Member | None:
    """Return the card entry of the run member whose weights are in `file`; None for other files."""
    run = _run_of(file)
    if run is None or file.name != WEIGHTS:
        return None
    index = int(file.parent.name) if file.parent.name.isdecimal() else 0
    members = read_card(run).members
    return members[index] if index < len(members) and weights_file(run, index) == file else None


def read_dictionary(path: str | Path) -> NDArray[np.float32]:
    """Read S3R's dictionary [atoms, dim] from a published .npy file.

    Raises UsageError if the file cannot be read.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a .npy array: {error}") from None


def from_published(
    state_dict: Mapping[str, object] | str | Path,
    *,
    settings: Mapping[str, object] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
) -> Detector:
    """Return a detector, in eval mode, with weights as their authors published them.

    state_dict is a mapping, a file of weights, or a run folder; the feature scaling of a run is
    ignored. The detector is recognised by the names of the weights; widths and modes are read from
    their shapes. settings and arrays supply what the weights do not tell, as for `create_detector`.

    Raises UsageError if no known detector has such weights, or if names are missing or left over.
    """
    settings = settings or {}
    if isinstance(state_dict, Mapping):
        weights = unwrap(state_dict)
        name, sizes = sizes_of(weights)
    else:
        weights = read_weights(state_dict)
        name, sizes = recognised(state_dict)
    check_asked(name, sizes, settings)
    detector = create_detector(
        name,
        visual_dim=sizes.visual_dim,
        text_dim=sizes.text_dim,
        settings={**sizes.settings, **settings},
        arrays=arrays,
    )
    fill(detector, name, weights)
    detector.finish()
    return detector.eval()


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
    features: Stream | None = None,
    **settings: Any,
) -> Run:
    """Write a run folder with published weights, and open the run.

    The detector is recognised by the names of the weights, its sizes by their shapes; `settings`
    supply what these do not tell. If `store` is given, its features must have the right width, and
    their provenance is noted in the card, so that videos can be scored directly. So they can if
    `features` are visual features that a backbone of this project makes; as nobody has proven
    these equal to the features that the weights were trained on, the card notes this as a doubt.
    Otherwise the run can read any store with arrays of that name and width. As in the published
    code, features are not scaled, and scores are not smoothed unless `settings` have `smoothing`
    and `smoothing_rule` (as in PEL4VAD's test code). Raises UsageError if the file or the features
    do not fit.
    """
    names = ["smoothing", "smoothing_rule"]
    given = {name: settings.pop(name) for name in names if name in settings}
    smoothed = build(TrainSettings, {"smoothing": 0}, given, where="import")
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
    made.finish()
    dims = {"visual": sizes.visual_dim, "text": sizes.text_dim}
    streams = _streams(store, {"visual": visual, "text": text}, dims, features)
    member = Member(
        name,
        own,
        sizes.visual_dim,
        sizes.text_dim,
        streams,
        smoothing=smoothed.smoothing,
        smoothing_rule=smoothed.smoothing_rule,
    )
    card = Card(
        (member,),
        Selection(
            on="imported weights: chosen by their authors",
            doubt=f"{features.name}: {NOT_PROVEN}" if features else "",
        ),
        threshold=0.5,
        training=None,
        videos={},
        store=store if store is None else store_hint(out, str(store)),
        imported=Imported(str(weights), sha256_of(Path(weights))),
        n_parameters=sum(p.numel() for p in made.parameters()),
        created=now(),
    )
    inputs = Inputs(
        {kind: Scaling() for kind in KINDS if dims[kind]}, apart=sizes.text_dim is not None
    )
    run = Run(out, card, [TrainedMember(member, made.eval(), inputs)])
    run.save()
    return run


def _streams(
    store: str | Path | None,
    given: Mapping[str, str | None],
    dims: Mapping[str, int | None],
    features: Stream | None,
) -> tuple[Stream, ...]:
    """Return the card entries of the features that weights read.

    They describe the arrays of `store`, or, without a store, only names and widths; `features` is
    that of the visual features if a backbone makes them. Raises UsageError if the store has no
    video with these arrays, or if their width is another one.
    """
    widths = {kind: dim for kind in KINDS if (dim := dims[kind])}
    if features is not None:
        if store is not None:
            raise UsageError("features are those of a store or of a backbone, not of both")
        if features.dim != widths["visual"]:
            raise UsageError(
                f"these weights read visual features of {widths['visual']} values, {features.name} "
                f"has {features.dim}",
                hint="name the backbone whose features they were trained on",
            )
    if store is None:
        names = {k: f"{k}/{given[k]}" if given[k] else USUAL[k] for k in widths}
        named = {kind: Stream(names[kind], dim) for kind, dim in widths.items()}
        return tuple(({**named, "visual": features} if features else named).values())
    opened = FeatureStore.open(store)
    names = choose_streams(opened, given, needed=widths)
    first = next(iter(opened.having(*names.values())), None)
    if first is None or names.keys() != widths.keys():
        raise UsageError(f"{store} has no video with {' and '.join(names.values())}")
    shapes = shapes_of(opened, names, first)
    for kind, (_, _, dim) in shapes.items():
        if dim != widths[kind]:
            raise UsageError(
                f"these weights read {kind} features of {widths[kind]} values, {names[kind]} in "
                f"{store} has {dim}",
                hint="extract with the backbone that they were trained on",
            )
    return tuple(
        Stream(
            name,
            shapes[kind][2],
            shapes[kind][1] if kind == "visual" else None,
            opened.provenance(name),
        )
        for kind, name in names.items()
    )
