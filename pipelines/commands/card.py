"""`vad card`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="folder of vad train; by default the newest finished one in runs/"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="by default model-card.html in the run"),
    ] = None,
) -> None:
    """Write the page of a run: data, what to expect, calibration, limits, licences.

    Examples:

    vad card

    vad card runs/default --out card.html
    """
    from vad import verbs

    typer.echo(f"written to {verbs.card(run, out)}")
