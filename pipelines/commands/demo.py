"""`vad demo`: run all stages, from extraction to scores, on rendered videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Quiet


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="folder for all that the demo writes")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the rendered videos")] = 0,
    quiet: Quiet = False,
) -> None:
    """Render small surveillance videos, then extract, train, evaluate and score them.

    Examples:

    vad demo

    vad demo other/ --seed 1
    """
    from vad.stages.infer.evaluation.tables import metrics_table
    from vad.stages.pipelines.demo.run import run_demo

    demo = run_demo(folder, seed=seed, quiet=quiet)
    typer.echo(metrics_table([demo.evaluation.metrics]))
    typer.echo(f"\nscore curves of the test videos, truth shaded: {demo.curves[0].parent}/")
    typer.echo(f"one video scored: {', '.join(map(str, demo.scored))}")
    typer.echo(f"open in a browser: {folder / 'evaluation' / 'evaluation.html'}, {demo.scored[-1]}")
    typer.echo("next, in a folder of your own: vad extract videos/")
