"""`vad export`: write a feature store or a trained run as files that other projects read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Quiet


def command(
    store: Annotated[str, typer.Argument(metavar="STORE|RUN", help="feature store, or run")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="folder for the files; for a run, by default RUN/onnx"
        ),
    ] = None,
    formats: Annotated[
        str | None, typer.Option("--format", metavar="onnx", help="for a run: onnx")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--layout", help="rtfm, tevad-text, crop-files, vadclip, numpy, torch or c3d-text"
        ),
    ] = "rtfm",
    name: Annotated[
        str | None, typer.Option("--name", help="array to export, if the store has several")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="CSV",
            help="export only the videos of this file, abnormal ones first",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="export only this split of the labels")
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="write a list of the files to this file"),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="for a run: store to check the detector on; by default the one trained on",
        ),
    ] = None,
    video: Annotated[
        Path | None, typer.Option("--video", help="for a run: video to check the backbone on")
    ] = None,
    backbone: Annotated[
        bool, typer.Option("--backbone/--no-backbone", help="for a run: export its backbone, too")
    ] = True,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="for a run: where the backbone's weights are now"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write stored features in a published layout, float32; or the networks of a run as ONNX.

    ONNX files are checked against PyTorch on real input, and deleted if the outputs differ.

    Examples:

    vad export features.zarr --out published/ --layout rtfm

    vad export runs/rtfm --format onnx
    """
    from vad.errors import UsageError

    if formats is not None or Path(store, "card.json").exists():
        from vad.verbs import export_onnx

        if formats not in (None, "onnx"):
            raise UsageError(f"no format {formats!r} for a run", hint="there is: onnx")
        for written in export_onnx(
            store, out, store=features, video=video, backbone=backbone, weights=weights
        ):
            n = written.n_samples
            typer.echo(
                f"{written.path}: {written.largest_difference:.1e} at most from PyTorch, "
                f"on {n} real input{'s' * (n != 1)}"
            )
        return
    if out is None:
        raise UsageError("where to?", hint="name a folder: --out DIR")
    from vad.verbs import export_features

    files = export_features(
        store, out, layout=layout, name=name, labels=labels, split=split, listed=listed, quiet=quiet
    )
    typer.echo(f"{len(files)} files in {out}" + (f", listed in {listed}" if listed else ""))
