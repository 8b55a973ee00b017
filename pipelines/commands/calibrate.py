"""`vad calibrate`: fit a trained run to one camera, from ordinary footage of it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vad.stages.extract.settings import ComputeSettings

from ..options import COMMON, Quiet, Weights, takes, tell_next

if TYPE_CHECKING:
    from vad.errors import VideoError

log = logging.getLogger("vad")


@takes(ComputeSettings, "score")
def command(
    settings: ComputeSettings,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="trained run")],
    footage: Annotated[
        list[str],
        typer.Argument(metavar="FOOTAGE...", help="files, folders, globs or @list.txt"),
    ],
    camera: Annotated[
        str,
        typer.Option("--camera", metavar="NAME", help="name of it", rich_help_panel=COMMON),
    ],
    false_alarms: Annotated[
        str | None,
        typer.Option(
            "--false-alarms",
            metavar="RATE",
            help="that the threshold allows, such as 2/h; by default 1/h, or as few as can be told",
            rich_help_panel=COMMON,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help="keep the features here, and use those it has",
            rich_help_panel=COMMON,
        ),
    ] = None,
    weights: Weights = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="sentence encoder, if the run's is not a known one"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fit a run to one camera, from ordinary footage of it without labels.

    The camera gets a threshold, banks of what is normal there, and a reference by
    which unlike footage is told, in RUN/cameras/NAME. A few anomalies in the
    footage do little harm: stretches unlike all others are left out, and listed.

    Examples:

    vad calibrate runs/default gate/*.mp4 --camera gate

    vad score new.mp4 --camera gate --false-alarms 2/h
    """
    from vad import verbs
    from vad.errors import VideoError

    failed: dict[str, VideoError] = {}

    def on_failed(video: str, error: VideoError) -> None:
        failed[video] = error
        log.warning("%s: %s (%s)", video, error, error.reason)

    found = verbs.calibrate(
        run,
        footage,
        camera,
        false_alarms=false_alarms,
        store=store,
        on_failed=on_failed,
        quiet=quiet,
        weights=weights,
        encoder=encoder,
        **asdict(settings),
    )
    for name, fact in found.facts().items():
        typer.echo(f"{name:10s} {fact}")
    if normal := found.normal_footage:
        typer.echo(f"{normal.in_words(found.threshold)}, the threshold")
    typer.echo(f"written to {found.path}")
    tell_next(
        f"vad score VIDEO --detector {run} --camera {camera}; in cameras.toml for vad watch: "
        f'run = "{run}", camera = "{camera}"'
    )
    raise typer.Exit(VideoError.exit_code if failed else 0)
