"""`vad events`: find events again in written scores, without the video or the model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from vad.stages.infer.settings import FORMATS, ScoreSettings, parse_formats, parse_threshold

from ..options import COMMON, Json, Threshold, takes

log = logging.getLogger("vad")


@takes(ScoreSettings, "events", built=False)
def command(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES...", help="JSON files of vad score, or folders")
    ],
    settings: dict[str, Any],
    threshold: Threshold = "auto",
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="folder for the files", rich_help_panel=COMMON
        ),
    ] = Path("scores"),
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help=f"files to write: {', '.join(FORMATS)}",
            rich_help_panel=COMMON,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Find events in written scores again, with other settings, without the model.

    A setting that is not given keeps the value with which the scores were written.

    Examples:

    vad events scores/ --threshold 0.8

    vad events scores/video.json --merge-gap 3 --format srt
    """
    from vad.names import shortened
    from vad.stages.infer.scores import event_dict
    from vad.stages.pipelines.results import Results, events_table
    from vad.verbs import events

    wanted, limit = parse_formats(formats), parse_threshold(threshold)
    videos = events(scores, threshold=limit, **settings)
    if as_json:
        found = {s.video: [event_dict(event) for event in s.events] for s in videos}
        typer.echo(json.dumps(found, allow_nan=False))
    else:
        typer.echo(events_table(videos))
    if short := [scores.video for scores in videos if scores.too_short]:
        log.info(
            "%d of %d videos reach the threshold, but never for as long as --min-event: %s",
            *(len(short), len(videos), shortened(short)),
        )
    with Results(out, wanted) as results:
        for video in videos:
            results.add(video)
