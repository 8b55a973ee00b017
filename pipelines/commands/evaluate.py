"""`vad evaluate`: a run against the frame truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import Json


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of vad train")],
    segments: Annotated[
        Path, typer.Option("--segments", metavar="CSV", help="video,start_frame,end_frame")
    ] = Path("segments.csv"),
    store: Annotated[
        Path | None, typer.Option("--store", help="feature store; by default the one trained on")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="videos; by default those of the run")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test")] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", help="folder; by default RUN/evaluation-SPLIT")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")] = "auto",
    as_json: Json = False,
) -> None:
    """Measure runs on videos whose anomalous frames are known."""
    from vad.errors import UsageError
    from vad.infer.evaluation import evaluate, save
    from vad.infer.tables import metrics_table

    if out and len(runs) > 1:
        raise UsageError("--out takes the files of one run", hint="evaluate the runs one by one")
    evaluations = []
    for run in runs:
        evaluation = evaluate(run, segments, store=store, labels=labels, split=split, device=device)
        folder = out or run / f"evaluation-{split}"
        save(evaluation, folder)
        typer.echo(f"{run}: metrics.json and plots in {folder}", err=True)
        evaluations.append(evaluation.to_dict())
    if as_json:
        found = evaluations[0] if len(evaluations) == 1 else evaluations
        typer.echo(json.dumps(found, allow_nan=False))
    else:
        typer.echo(metrics_table(evaluations))
