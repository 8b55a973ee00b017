"""`vad train`: a feature store and video labels to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vad.stages.train.settings import TrainSettings

from ..options import Quiet, StoreArgument, takes


@takes(TrainSettings, "train")
def command(
    store: StoreArgument = "features.zarr",
    labels: Annotated[
        Path, typer.Option("--labels", metavar="CSV", help="video,label[,split][,fold]...")
    ] = Path("labels.csv"),
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="by default runs/DETECTOR or runs/PRESET"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished run")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a finished run")] = False,
    quiet: Quiet = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Train a detector from video-level labels.

    --set also takes the detector's own settings, such as --set k=5.
    """
    from vad.stages.train.training import train

    named = settings.get("detector") or settings.get("preset") or TrainSettings.detector
    out = out or Path("runs", str(named))
    run = train(store, labels, out, resume=resume, overwrite=overwrite, quiet=quiet, **settings)
    chosen = run.card["selection"]
    figures = ", ".join(
        f"{name.partition('/')[2].replace('_', ' ')} {value:.4f}"
        for name, value in chosen["figures"].items()
        if not name.startswith("train/")
    )
    typer.echo(f"{out}: epoch {chosen['epoch']} chosen on {chosen['on']}: {figures}")
    typer.echo(f"threshold {run.threshold:.4f}; next: vad evaluate {out} --segments segments.csv")
