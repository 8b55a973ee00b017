"""`vad score`: videos and a run to scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from vad.stages.infer.formats import FORMATS, parse_formats
from vad.stages.infer.settings import ScoreSettings, parse_threshold

from ..executors.settings import ExecutorSettings, split
from ..options import Quiet, takes


@dataclass(frozen=True, kw_only=True)
class Settings(ExecutorSettings, ScoreSettings):
    """How scores are read, and where features are made."""


@takes(Settings, "score")
def command(
    detector: Annotated[Path, typer.Option("--detector", metavar="RUN", help="trained run")],
    settings: dict[str, Any],
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEOS...", help="files, folders, globs or @list.txt"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="for the files")] = Path(
        "scores"
    ),
    formats: Annotated[
        str, typer.Option("--format", "-f", help=f"several with commas: {', '.join(FORMATS)}")
    ] = "csv,json,html",
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="T|auto", help="auto: the one of the run")
    ] = "auto",
    clips: Annotated[bool, typer.Option("--save-clips", help="every event as a video")] = False,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help="keep the features here, and use those it has; without VIDEOS, score all it has",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")] = "auto",
    weights: Annotated[
        str | None, typer.Option("--weights", help="where the backbone's weights are now")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object a video")] = False,
    quiet: Quiet = False,
) -> None:
    """Score every frame of videos between 0 (ordinary) and 1 (anomalous)."""
    from vad.errors import UsageError
    from vad.stages.pipelines.results import Results, in_json, in_words
    from vad.stages.pipelines.score import score_store, score_videos

    wanted, limit = parse_formats(formats), parse_threshold(threshold)
    if not videos and not store:
        raise UsageError("nothing to score", hint="name videos, or a --store")
    exit_code = 0
    tell = in_json if as_json else in_words
    with Results(out, wanted, clips=clips, quiet=quiet, tell=tell) as results:
        if videos:
            outcome = score_videos(
                videos,
                detector,
                each=results.add,
                store=store,
                threshold=limit,
                quiet=quiet,
                device=device,
                weights=weights,
                **settings,
            )
            results.fail(outcome.failed)
            exit_code = outcome.exit_code
        elif store:
            _, reading = split(settings, where="vad score")  # nothing is left to do elsewhere
            for scores in score_store(store, detector, threshold=limit, device=device, **reading):
                results.add(scores)
    raise typer.Exit(exit_code)
