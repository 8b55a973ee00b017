"""`vad import detector`: make a trained run from published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Assign, tell_next


def command(
    weights: Annotated[
        Path, typer.Argument(metavar="FILE", help="weights: .pth, .pkl or .safetensors")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="folder of the run to write")],
    detector: Annotated[
        str | None, typer.Option("--detector", help="refuse weights of any other detector")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="STORE", help="store with the features that the run is for"
        ),
    ] = None,
    visual: Annotated[
        str | None, typer.Option("--visual", help="name of the visual features")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="name of the text features")] = None,
    dictionary: Annotated[
        Path | None,
        typer.Option(
            "--dictionary", metavar="NPY", help="dictionary of S3R, which its weights do not hold"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a finished run")] = False,
    assign: Assign = None,
) -> None:
    """Make a run of published weights; the detector is recognised by the names in the file.

    --set gives settings of the detector that the weights do not hold, such as --set window=5.

    Examples:

    vad import detector rtfm.pkl --out runs/published

    vad import detector s3r.pth --out runs/s3r --dictionary dictionary.npy
    """
    from vad.config import parse_assignments
    from vad.verbs import import_detector

    run = import_detector(
        weights,
        out,
        detector=detector,
        store=store,
        visual=visual,
        text=text,
        dictionary=dictionary,
        overwrite=overwrite,
        settings=parse_assignments(assign or []),
    )
    reads = " and ".join(run.names.values())
    typer.echo(f"{out}: {run.card.detector}, reads {reads}")
    tell_next(f"vad evaluate {out} --store STORE --labels labels.csv")
