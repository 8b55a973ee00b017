"""`vad events`: events again, from scores that were written, without video or model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vad.stages.infer.formats import FORMATS, parse_formats
from vad.stages.infer.settings import ScoreSettings, parse_threshold

from ..options import Json, takes


@takes(ScoreSettings, "events")
def command(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES...", help="JSON files of vad score, or folders")
    ],
    settings: dict[str, Any],
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="T|auto", help="auto: the one in the file")
    ] = "auto",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="for the files")] = Path(
        "scores"
    ),
    formats: Annotated[
        str, typer.Option("--format", "-f", help=f"files to write: {', '.join(FORMATS)}")
    ] = "",
    as_json: Json = False,
) -> None:
    """Find events in scores: other thresholds, lengths and gaps, without the model.

    Settings that are not given are those that the scores were written with.
    """
    from vad.stages.infer.scores import event_dict
    from vad.stages.infer.summary import events_table
    from vad.stages.pipelines.events import reread
    from vad.stages.pipelines.results import Results

    wanted, limit = parse_formats(formats), parse_threshold(threshold)
    videos = list(reread(scores, threshold=limit, **settings))
    if as_json:
        found = {s.video: [event_dict(event) for event in s.events] for s in videos}
        typer.echo(json.dumps(found, allow_nan=False))
    else:
        typer.echo(events_table(videos))
    with Results(out, wanted) as results:
        for video in videos:
            results.add(video)
