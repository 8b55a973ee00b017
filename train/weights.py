"""Files of detector weights, published or of our own runs, and a run made of such a file.

Nothing is unpickled.
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

USUAL = {"visual": "visual/i3d", "text": "text/simcse"}  # what most published weights were made for


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The bare weights of a detector: in a file, or in the folder of a run of our own.

    Containers of training scripts and common prefixes are taken off, and so is what our own runs
    hold beside the detector. Raises UsageError for files that are missing, damaged or no weights,
    that hold pickled objects, which would run code when loaded, or numbers that are not finite.
    """
    path = _file(path)
    weights = unwrap(read_weights_file(path))
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise UsageError(f"{path}: {name} holds values that are not finite")
    return weights


def read_scalings(path: str | Path) -> dict[str, Scaling]:
    """How a run of our own scales the features that its weights read, by kind; empty for others."""
    tensors = read_weights_file(_file(path))
    parts = {kind: with_prefix(tensors, prefix) for kind, prefix in PREFIXES.items()}
    return {kind: Scaling.from_tensors(part) for kind, part in parts.items() if part}


def recognised(path: str | Path, detector: str | None = None) -> tuple[str, Sizes]:
    """Whose weights a file holds or a run of our own, and the sizes and settings of the detector.

    Those of a run are in its card, those of other files are read off the shapes. Raises UsageError
    where they are of another detector than the one asked for.
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
    """The weights file that is named, or that of a run of one member."""
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


def _own_member(file: Path) -> Member | None:
    """The member of a run of our own whose weights a file is."""
    above = [file.parent, *file.parents[2:3]]  # of vad 0.1.0, and of members/N/
    run = next((folder for folder in above if (folder / CARD).is_file()), None)
    if run is None or file.name != WEIGHTS:
        return None
    index = int(file.parent.name) if file.parent.name.isdecimal() else 0
    members = read_card(run).members
    return members[index] if index < len(members) and weights_file(run, index) == file else None


def read_dictionary(path: str | Path) -> NDArray[np.float32]:
    """S3R's dictionary [atoms, dim], as published in a .npy file."""
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a .npy array: {error}") from None


def from_published(
    state_dict: Mapping[str, Any] | str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
) -> Detector:
    """A detector, in eval mode, from weights as their authors published them.

    state_dict may also be a file of weights, or the folder of a run of our own, whose scaling of
    the features is left out. The detector is recognised by its keys; widths and modes are read off
    the shapes. settings and arrays are what those do not tell, as for `create_detector`.

    Raises UsageError for weights of no known detector, and for missing or left-over keys.
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
    **settings: Any,
) -> Run:
    """Write a run with published weights, and open it.

    The detector is recognised by the weights' names and its sizes by their shapes; `settings` are
    what those do not tell. With `store`, the run is for its features: their width is checked, and
    what made them is noted, so that videos can be scored directly; without, the run is for any
    store that has arrays of that name and width. Features are not scaled and scores not smoothed,
    as published, unless `settings` have `smoothing` and `smoothing_rule` as PEL4VAD's test does.
    Raises UsageError where the file or the features do not fit.
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
    dims = {"visual": sizes.visual_dim, "text": sizes.text_dim}
    streams = _streams(store, {"visual": visual, "text": text}, dims)
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
        Selection(on="imported weights: chosen by their authors"),
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
    store: str | Path | None, given: Mapping[str, str | None], dims: Mapping[str, int | None]
) -> tuple[Stream, ...]:
    """The features that weights read: those of `store`, or any of these names and widths."""
    widths = {kind: dim for kind in KINDS if (dim := dims[kind])}
    if store is None:
        names = {k: f"{k}/{given[k]}" if given[k] else USUAL[k] for k in widths}
        return tuple(Stream(names[kind], dim) for kind, dim in widths.items())
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
