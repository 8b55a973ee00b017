"""Making the features of new videos as those were made that a run was trained on.

A run's card says how; nothing has to be repeated on the command line, and where this machine would
make other features, the error says which setting differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vad.config import build, options
from vad.errors import UsageError
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.run import make_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source
from vad.stages.train.run import Run
from vad.store import FeatureStore, differences

from .executors.captioning import caption
from .executors.extracting import load_for_plan, run_plan
from .executors.settings import ExecutorSettings, split


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


def settings_of(chosen: Run, given: Mapping[str, Any]) -> ExtractSettings:
    """The extraction settings that the run's features were made with, and those given."""
    made = _provenance(chosen, "provenance", "extract")
    recorded = {
        "backbone": made["backbone"],
        "weights": made["weights"].get("name"),
        "recipe": made["recipe"]["name"],
        "crops": made["crop_set"],
        "tail": made["tail"],
        "dtype": made["dtype"],
    }
    return build(ExtractSettings, recorded, given, where="score")


def check_provenance(chosen: Run, ours: Mapping[str, Any]) -> None:
    """UsageError unless features made here would be those that the run was trained on."""
    if differing := differences(chosen.card["features"]["provenance"], ours):
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
    made = _provenance(chosen, "text_provenance", "caption")
    captions = made.get("captions", {})
    if "files" in captions or "captioner" not in captions:
        raise UsageError(
            f"{chosen.path} reads captions of a file, and a captioner cannot make such",
            hint="vad caption STORE --captioner file:PATH for these videos, then --store STORE",
        )
    recorded = {
        "captioner": captions["captioner"],
        "encoder": made["encoder"],
        "name": chosen.names["text"].removeprefix("text/"),
        "window": captions["window"],
        "stride": captions.get("stride", 16),
    }
    ours = {*options(CaptionSettings), *options(ExecutorSettings)}
    shared = {name: value for name, value in given.items() if name in ours}
    return caption(store, videos=list(videos), quiet=quiet, **recorded, **shared)


def _provenance(chosen: Run, field: str, verb: str) -> dict[str, Any]:
    made: dict[str, Any] | None = chosen.card["features"].get(field)
    if made is None or "assumed" in made:
        raise UsageError(
            f"{chosen.path} does not say how its features were made",
            hint=f"vad {verb} the videos as they were, then score with --store",
        )
    return made
