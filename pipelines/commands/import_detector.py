"""`vad import detector`: make a trained run from published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Assign, Offline, tell_next


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
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="backbone that makes the features, to score videos"),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option("--backbone-weights", metavar="NAME|FILE", help="weights of the backbone"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="of the backbone; by default the published features'"),
    ] = None,
    crops: Annotated[
        str | None, typer.Option("--crops", help="of the backbone; by default the recipe's")
    ] = None,
    offline: Offline = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a finished run")] = False,
    assign: Assign = None,
) -> None:
    """Make a run of published weights; the detector is recognised by the names in the file.

    --set gives settings of the detector that the weights do not hold, such as --set window=5.

    Examples:

    vad import detector rtfm.pkl --out runs/published

    vad import detector ucf_trans_2022.pkl --out runs/urdmu --backbone i3d-inception
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
        backbone=backbone,
        backbone_weights=backbone_weights,
        recipe=recipe,
        crops=crops,
        offline=offline,
        settings=parse_assignments(assign or []),
    )
    reads = " and ".join(run.names.values())
    typer.echo(f"{out}: {run.card.detector}, reads {reads}")
    if backbone is None:
        tell_next(f"vad evaluate {out} --store STORE --labels labels.csv")
        return
    n_crops = run.card.of_kind("visual")[0].crops
    typer.echo(f"{run.card.selection.doubt}; crops of each clip: {n_crops} (see --crops)")
    tell_next(f"vad score VIDEO --detector {out}")
