"""`vad run`: all stages of a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    pipeline: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file with the stages")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and do nothing")
    ] = False,
) -> None:
    """Run the stages that a file names, and skip those whose inputs did not change.

    The file has a table for each stage, [extract], [caption], [train], [evaluate]
    or [score], with the arguments and options of that command.

    Examples:

    vad run pipeline.toml

    vad run pipeline.toml --dry-run
    """
    from vad.stages.pipelines.steps import run_pipeline

    raise typer.Exit(run_pipeline(pipeline, dry_run=dry_run))
