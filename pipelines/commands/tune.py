"""`vad tune`: settings of a training, searched on validation videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vad.stages.train.settings import TrainSettings

from ..options import Json, Quiet, StoreArgument, takes


@takes(TrainSettings, "train")
def command(
    store: StoreArgument = "features.zarr",
    labels: Annotated[
        Path, typer.Option("--labels", metavar="CSV", help="video,label[,split][,fold]...")
    ] = Path("labels.csv"),
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder of the search")] = Path(
        "runs/tune"
    ),
    trials: Annotated[int, typer.Option("--trials", min=1, help="how many, in all")] = 30,
    splits: Annotated[
        int, typer.Option("--splits", min=1, help="validation splits each trial is measured on")
    ] = 5,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAMES|FILE.toml|report-grid",
            help="settings to search, such as lr,dropout; by default lr, weight_decay and the "
            "detector's own",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="trials at once")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a search")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Search settings on validation videos, by short trainings; test videos are never read.

    The search starts from the settings given, and says whether it found better ones.
    """
    from vad.stages.train.tune.run import tune

    found = tune(
        store,
        labels,
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
