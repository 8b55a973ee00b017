"""`vad import detector`: published weights to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Assign


def command(
    weights: Annotated[
        Path, typer.Argument(metavar="FILE", help=".pth, .pkl or .safetensors of weights")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="folder to write")],
    detector: Annotated[
        str | None, typer.Option("--detector", help="refuse weights of any other")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="STORE", help="the features that it shall score"),
    ] = None,
    visual: Annotated[str | None, typer.Option("--visual", help="visual features")] = None,
    text: Annotated[str | None, typer.Option("--text", help="text features")] = None,
    dictionary: Annotated[
        Path | None, typer.Option("--dictionary", metavar="NPY", help="of S3R")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a finished run")] = False,
    assign: Assign = None,
) -> None:
    """Make a run of published weights; the detector is recognised by the names in the file.

    --set gives settings of the detector that the weights do not tell, such as --set window=5.
    """
    from vad.config import parse_assignments
    from vad.stages.train.weights import import_detector

    run = import_detector(
        weights,
        out,
        detector=detector,
        store=store,
        visual=visual,
        text=text,
        dictionary=dictionary,
        overwrite=overwrite,
        **parse_assignments(assign or []),
    )
    reads = " and ".join(run.names.values())
    typer.echo(f"{out}: {run.card['detector']['name']}, reads {reads}")
    typer.echo(f"next: vad evaluate {out} --store STORE --labels labels.csv")
