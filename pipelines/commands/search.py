"""`vad search`: find moments of stored videos by a sentence, or by another moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import Json


def command(
    store: Annotated[str, typer.Argument(metavar="STORE", help="feature store")],
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help='a sentence, such as "a person on the floor"'),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="VIDEO@SECONDS", help="a moment, for any features"),
    ] = None,
    visual: Annotated[
        str | None, typer.Option("--visual", help="array to search, if the store has several")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="where the weights of its backbone are now")
    ] = None,
    top: Annotated[int, typer.Option("--top", help="number of moments")] = 20,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="write a JPEG with a picture of each moment"),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="open no connection")] = False,
    as_json: Json = False,
) -> None:
    """List the moments of stored videos that are most like a sentence, or like another moment.

    A sentence needs features of an image-text backbone, such as clip-b16.

    Examples:

    vad search features.zarr "a person on the floor" --sheet found.jpg

    vad search features.zarr --like cam1/monday@12.5
    """
    from vad.stages.infer.words import moments_table
    from vad.stages.pipelines.search import contact_sheet, search

    moments, warning = search(
        store, text, like=like, visual=visual, weights=weights, top=top, offline=offline
    )
    if sheet is not None:
        contact_sheet(store, moments, sheet, warning)
    if as_json:
        found = [moment.to_dict() for moment in moments]
        typer.echo(json.dumps({"warning": warning, "moments": found}, ensure_ascii=False))
        return
    typer.echo("\n".join(filter(None, [warning, moments_table(moments)])))
