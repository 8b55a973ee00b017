"""`vad score`: videos and a run to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Quiet


def command(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEOS...", help="files, folders, globs or @list.txt")
    ],
    detector: Annotated[Path, typer.Option("--detector", metavar="RUN", help="trained run")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="for the files")] = Path(
        "scores"
    ),
    formats: Annotated[
        str, typer.Option("--format", "-f", help="csv, json, npy, png; several with commas")
    ] = "csv,json,png",
    store: Annotated[
        Path | None, typer.Option("--store", help="keep the features here, and use those it has")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")] = "auto",
    weights: Annotated[
        str | None, typer.Option("--weights", help="where the backbone's weights are now")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score every frame of videos between 0 (ordinary) and 1 (anomalous)."""
    from vad.extract.run import Outcome
    from vad.infer.scores import timecode
    from vad.infer.writers import check_formats, save
    from vad.pipelines.score import score_videos

    wanted = check_formats(formats.replace(",", " ").split())
    outcome = Outcome()
    for scores in score_videos(
        videos,
        detector,
        outcome=outcome,
        store=store,
        quiet=quiet,
        device=device,
        weights=weights,
    ):
        paths = save(scores, out, wanted)
        mark = "ANOMALOUS" if scores.peak >= scores.threshold else "ordinary"
        typer.echo(
            f"{scores.video}: {mark}, highest {scores.peak:.3f} at {timecode(scores.peak_s)} "
            f"(threshold {scores.threshold:.3f}); {', '.join(map(str, paths))}"
        )
    raise typer.Exit(outcome.exit_code)
