"""`vad import features`: import published features into a feature store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Quiet, Store, tell_outcome, with_store


def command(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATHS...", help="folders, files or @lists of features")
    ],
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            help="auto, rtfm, tevad-text, two-stream, crop-files, vadclip, numpy, torch or "
            "c3d-text",
        ),
    ] = "auto",
    store: Store = "features.zarr",
    name: Annotated[
        str | None, typer.Option("--name", help="name of the array; by default that of the layout")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="CSV",
            help="labels to compare with those that the names of videos tell",
        ),
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(
            "--frames",
            metavar="CSV",
            help="video,frames: lengths; by default 16 frames per snippet",
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.01, help="assumed frame rate; by default 30")
    ] = None,
    axes: Annotated[
        str,
        typer.Option(
            "--axes", help="order of the first two axes: auto, snippets-crops or crops-snippets"
        ),
    ] = "auto",
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float16 or float32; by default as in the files")
    ] = None,
    origin: Annotated[
        str, typer.Option("--origin", help="where the features come from; noted in the store")
    ] = "",
    stream: Annotated[
        str,
        typer.Option(
            "--stream", help="of NAME_rgb.npy and NAME_flow.npy: rgb, flow, or both side by side"
        ),
    ] = "both",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace features made with other settings")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Import published features into a store; stored videos are skipped.

    Examples:

    vad import features published/

    vad import features @list.txt --layout rtfm --store i3d.zarr
    """
    from vad.verbs import import_features

    outcome = import_features(
        paths,
        store,
        layout=layout,
        name=name,
        labels=labels,
        frames=frames,
        fps=fps,
        axes=axes,
        dtype=dtype,
        origin=origin,
        stream=stream,
        overwrite=overwrite,
        quiet=quiet,
    )
    tell_outcome(outcome, store, with_store("vad train", store))
