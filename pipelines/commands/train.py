"""`vad train`: train a run from a feature store and video labels, into a run folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vad.stages.train.presets import split_settings
from vad.stages.train.settings import TrainSettings

from ..options import COMMON, STORE, Quiet, StoreArgument, takes, tell_next

LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="CSV",
        help="video,label[,split][,fold]...; by default labels.csv, or the videos' folders",
        rich_help_panel=COMMON,
    ),
]
# what --help shows as defaults: those for rtfm, but for the detector itself
USED = asdict(split_settings({})[0]) | {"detector": TrainSettings.detector}


@takes(TrainSettings, "train", built=False, open_=True, defaults=USED)
def command(
    store: StoreArgument = STORE,
    labels: LabelsOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="RUN",
            help="folder of the run; by default runs/DETECTOR or runs/PRESET, numbered",
            rich_help_panel=COMMON,
        ),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="DETECTOR:WHAT",
            help="train a run of these members; WHAT is an array or a block, such as topk:A",
            rich_help_panel=COMMON,
        ),
    ] = None,
    purpose: Annotated[
        Literal["streams"] | None,
        typer.Option(
            "--for",
            help="streams: only members with which a core carries three cameras",
            rich_help_panel=COMMON,
        ),
    ] = None,
    reviews: Annotated[
        Path | None,
        typer.Option(
            "--reviews",
            metavar="CSV",
            help="verdicts on events, from reports; by default reviews.csv beside the labels",
            rich_help_panel=COMMON,
        ),
    ] = None,
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            "--seeds",
            metavar="0-4",
            help="train a run for each of these seeds, into RUN/seed-N; also 0,1,2",
            rich_help_panel=COMMON,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="go on with an unfinished run; of --seeds, keep finished ones",
            rich_help_panel=COMMON,
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace a finished run", rich_help_panel=COMMON)
    ] = False,
    log_to: Annotated[
        list[str] | None,
        typer.Option(
            "--log-to",
            metavar="tensorboard|wandb|mlflow",
            help="log every epoch there too; repeatable",
            rich_help_panel=COMMON,
        ),
    ] = None,
    quiet: Quiet = False,
    *,
    settings: dict[str, object],
) -> None:
    """Train a run from video-level labels.

    Without --detector, --preset, --weights and --member, the run has several
    members that suit the stored arrays; cross-fitting decides their weights, the
    calibration and the threshold.
    --set also accepts the detector's own settings, such as --set k=5.
    Defaults shown are for rtfm; presets and other detectors have their own.

    Examples:

    vad train

    vad train features.zarr --labels labels.csv --detector mgfn --seeds 0-4
    """
    from vad.stages.pipelines.project import train, train_seeds
    from vad.stages.train.seeds import parse_seeds

    given: dict[str, Any] = {
        "member": member or (),
        "purpose": purpose,
        "reviews": reviews,
        "resume": resume,
        "overwrite": overwrite,
        "quiet": quiet,
        "log_to": log_to or (),
        **settings,
    }
    if seeds:
        from vad.stages.infer.evaluation.spread import seeds_table

        runs = train_seeds(parse_seeds(",".join(seeds)), store, labels, out, **given)
        folder = runs[0].path.parent
        typer.echo(seeds_table(runs))
        typer.echo(f"{len(runs)} runs written to {folder}")
        tell_next(f"vad evaluate {folder}")
        return
    run = train(store, labels, out, **given)
    for name, fact in run.facts().items():
        typer.echo(f"{name:10s} {fact}")
    if expected := run.card.selection.expected:
        typer.echo(expected)
    typer.echo(f"written to {run.path}")
    segments = Path("segments.csv").exists()
    tell_next(f"vad evaluate {run.path}" if segments else f"vad score VIDEO --detector {run.path}")
