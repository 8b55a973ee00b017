"""`vad tune`: search training settings by their results on validation videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vad.stages.train.presets import ONE
from vad.stages.train.settings import TrainSettings

from ..options import COMMON, STORE, Json, Quiet, StoreArgument, takes, tell_next, with_store
from .train import USED, LabelsOption

SEARCH = "Search"


@takes(TrainSettings, "train", built=False, open_=True, defaults=USED | {"detector": ONE})
def command(
    store: StoreArgument = STORE,
    labels: LabelsOption = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="folder of the search", rich_help_panel=COMMON),
    ] = Path("runs/tune"),
    trials: Annotated[
        int,
        typer.Option(
            "--trials", min=1, max=1_000_000, help="trials in all", rich_help_panel=SEARCH
        ),
    ] = 30,
    splits: Annotated[
        int,
        typer.Option(
            "--splits",
            min=1,
            max=1000,
            help="validation splits that each trial is measured on",
            rich_help_panel=SEARCH,
        ),
    ] = 5,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAMES|FILE.toml|report-grid",
            help="settings to search, such as lr,dropout; by default lr, weight_decay and the "
            "detector's own",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=256, help="trials at once", rich_help_panel=SEARCH)
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with a search", rich_help_panel=SEARCH)
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    settings: dict[str, object],
) -> None:
    """Search settings on validation videos, by short trainings; test videos are never read.

    The search starts from the given settings, and reports whether it found better ones.

    Examples:

    vad tune

    vad tune features.zarr --detector mgfn --space lr,dropout --trials 50 --jobs 4
    """
    from vad.stages.pipelines.project import labels_of
    from vad.stages.train.tune.run import tune

    found = tune(
        store,
        labels_of(store, labels),
        out,
        trials=trials,
        splits=splits,
        space=space,
        jobs=jobs,
        resume=resume,
        quiet=quiet,
        **settings,
    )
    typer.echo(json.dumps(found.to_dict()) if as_json else found.summary(out))
    typer.echo(f"{out}: trials.csv, tuning.png, best.toml, tune.json", err=True)
    tell_next(f"{with_store('vad train', store)} --config {out / 'best.toml'}")
