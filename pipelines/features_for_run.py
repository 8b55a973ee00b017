"""Making the features of new videos as those were made that a run was trained on.

A run's card says how; nothing has to be repeated on the command line, and where this machine would
make other features, the error says which setting differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from vad.config import build, options
from vad.documents import parse
from vad.errors import UsageError
from vad.stages.extract.backbones import find_backbone
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.captioners.table import CAPTIONERS
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.run import make_plan
from vad.stages.extract.sentences.table import ENCODERS
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source
from vad.stages.train.card import CARD, Kind
from vad.stages.train.run import Run, project_folder
from vad.store import FeatureStore, differences

from .executors.captioning import caption
from .executors.extracting import load_for_plan, run_plan
from .executors.settings import ExecutorSettings, split

Made = TypeVar("Made")


def extract_for(
    chosen: Run,
    sources: list[Source],
    store: str | Path,
    given: Mapping[str, Any],
    *,
    quiet: bool,
    on_stored: Callable[[str], None] = lambda video: None,
) -> Outcome:
    """Extract a run's visual features of videos; `on_stored` gets the id of each that has them.

    `given` are settings that do not change features, and those of the executor. Raises UsageError
    where the features would not be those that the run was trained on.
    """
    where, given = split(given, where="score")
    settings = settings_of(chosen, given)
    backbone = load_for_plan(settings, where)
    plan = make_plan(sources, store, backbone, settings)
    check_provenance(chosen, plan.provenance)
    opened = FeatureStore.create(store)
    return run_plan(plan, opened, backbone, settings, where, quiet=quiet, on_stored=on_stored)


@dataclass(frozen=True)
class _Named:
    name: str | None = None


@dataclass(frozen=True)
class _VisualMade:
    """What of a run's provenance extraction needs again."""

    backbone: str
    weights: _Named
    recipe: _Named
    crop_set: Literal["ten", "five", "center", "whole"]
    tail: Literal["repeat-last", "loop", "drop"]
    dtype: Literal["float16", "float32"]


@dataclass(frozen=True)
class _Captions:
    captioner: str | None = None
    window: int | None = None
    stride: int = 16
    files: object = None


@dataclass(frozen=True)
class _TextMade:
    """What of a run's provenance captioning needs again."""

    encoder: str
    captions: _Captions = _Captions()


def settings_of(chosen: Run, given: Mapping[str, Any]) -> ExtractSettings:
    """The extraction settings that the run's features were made with, and those given.

    Raises UsageError where the run does not tell, or names weights that are neither known nor in
    its project folder: a card may come from anyone.
    """
    made = _made(chosen, "visual", _VisualMade, "extract")
    if not given.get("weights"):
        _require_known_weights(chosen, made)
    recorded = {
        "backbone": made.backbone,
        "weights": made.weights.name,
        "recipe": made.recipe.name,
        "crops": made.crop_set,
        "tail": made.tail,
        "dtype": made.dtype,
    }
    return build(ExtractSettings, recorded, given, where="score")


def _require_known_weights(chosen: Run, made: _VisualMade) -> None:
    name, project = made.weights.name, project_folder(chosen.path)
    if name is None or name.startswith("random:") or find_backbone(made.backbone).known(name):
        return
    with contextlib.suppress(OSError, ValueError):
        if Path(name).resolve().is_relative_to(project):
            return
    raise UsageError(
        f"{chosen.path} was trained on features of the weights {name!r}, which are not known here",
        hint="name them, if you trust them: --weights NAME|FILE",
    )


def check_provenance(chosen: Run, ours: Mapping[str, Any]) -> None:
    """UsageError unless features made here would be those that the run was trained on."""
    if differing := differences(chosen.card.streams["visual"].provenance or {}, ours):
        field, (theirs, here) = next(iter(differing.items()))
        raise UsageError(
            f"{chosen.path} was trained on features with {field} {theirs!r}, "
            f"here it would be {here!r}",
            hint="give the same weights with --weights",
        )


def caption_for(
    chosen: Run,
    videos: Iterable[str | Path],
    store: str | Path,
    given: Mapping[str, Any],
    *,
    quiet: bool,
) -> Outcome:
    """Caption videos, or all that are stored where none are named, as the run's text was made.

    Raises UsageError where its captions came from a file, which says nothing of other videos.
    """
    made = _made(chosen, "text", _TextMade, "caption")
    captions = made.captions
    if captions.files is not None or captions.captioner is None:
        raise UsageError(
            f"{chosen.path} reads captions of a file, and a captioner cannot make such",
            hint="vad caption STORE --captioner file:PATH for these videos, then --store STORE",
        )
    if captions.captioner not in CAPTIONERS:
        raise UsageError(
            f"{chosen.path} reads captions of {captions.captioner!r}, which is not known here",
            hint="vad caption STORE for these videos, then score with --store STORE",
        )
    if made.encoder not in ENCODERS and not given.get("encoder"):
        raise UsageError(
            f"{chosen.path} reads sentences of {made.encoder!r}, which is not known here",
            hint="name it, if you trust it: --encoder NAME|FOLDER",
        )
    recorded = {
        "captioner": captions.captioner,
        "encoder": made.encoder,
        "name": chosen.names["text"].removeprefix("text/"),
        "window": captions.window,
        "stride": captions.stride,
    }
    ours = {*options(CaptionSettings), *options(ExecutorSettings)}
    shared = {name: value for name, value in given.items() if name in ours}
    return caption(store, videos=list(videos), quiet=quiet, **{**recorded, **shared})


def captioner_of(chosen: Run) -> str | None:
    """The captioner whose captions a run reads, if its card says so."""
    stream = chosen.card.streams.get("text")
    captions = (stream.provenance or {}).get("captions") if stream else None
    name = captions.get("captioner") if isinstance(captions, dict) else None
    return name if isinstance(name, str) else None


def _made(chosen: Run, kind: Kind, cls: type[Made], verb: str) -> Made:
    """How the features of a kind were made that a run was trained on; UsageError if not known."""
    stream = chosen.card.streams[kind]
    if stream.provenance is None or "assumed" in stream.provenance:
        raise UsageError(
            f"{chosen.path} does not say how its features were made",
            hint=f"vad {verb} the videos as they were, then score with --store",
        )
    try:
        return parse(cls, dict(stream.provenance), f"provenance of {stream.name}:")
    except ValueError as error:
        raise UsageError(f"{chosen.path / CARD}: {error}") from None
