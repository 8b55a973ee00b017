"""`vad export`: a feature store to files that other projects read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Quiet


def command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="feature store")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for the files")],
    layout: Annotated[
        str,
        typer.Option("--layout", help="rtfm, tevad-text, crop-files, numpy, torch or c3d-text"),
    ] = "rtfm",
    name: Annotated[
        str | None, typer.Option("--name", help="array, if the store has several")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="CSV", help="only these videos, abnormal ones first"),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="of the labels, only this")] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="write a list of the files here")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write stored features in a published layout, float32."""
    from vad.extract.layouts import export_features

    files = export_features(
        store, layout, out, name=name, labels=labels, split=split, listed=listed, quiet=quiet
    )
    typer.echo(f"{len(files)} files in {out}" + (f", listed in {listed}" if listed else ""))
