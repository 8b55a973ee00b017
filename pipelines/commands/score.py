"""`vad score`: score videos with a trained run, or by their novelty without one."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from vad.stages.extract.settings import ComputeSettings
from vad.stages.infer.settings import (
    FORMATS,
    Decision,
    ScoreSettings,
    parse_formats,
    parse_threshold,
)

from ..executors.settings import ExecutorSettings
from ..options import COMMON, Quiet, Threshold, Weights, takes, tell_next

log = logging.getLogger("vad")

WORDS = "By words"  # heading of `--help`


@dataclass(frozen=True, kw_only=True)
class Settings(ExecutorSettings, ComputeSettings, ScoreSettings, Decision):
    """The options of `vad score`: how scores become events, and how and where features are
    computed.
    """


@takes(Settings, "score")
def command(
    settings: Settings,
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEOS...", help="files, folders, globs or @list.txt"),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            "--detector",
            metavar="RUN",
            help="trained run; by default the newest in runs/; without one, novelty: how unlike "
            "the rest of its video each moment is",
            rich_help_panel=COMMON,
        ),
    ] = None,
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
            help=f"several with commas: {', '.join(FORMATS)}",
            rich_help_panel=COMMON,
        ),
    ] = "csv,json,html",
    threshold: Threshold = "auto",
    clips: Annotated[
        bool,
        typer.Option("--save-clips", help="write every event as a video", rich_help_panel=COMMON),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help="keep the features here, and use those it has; without VIDEOS, score all it has",
            rich_help_panel=COMMON,
        ),
    ] = None,
    weights: Weights = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="sentence encoder, where the run's is not a known one"),
    ] = None,
    look_for: Annotated[
        list[str] | None,
        typer.Option(
            "--look-for",
            metavar="TEXT",
            help="score by this sentence, without a run; several: any of them",
            rich_help_panel=WORDS,
        ),
    ] = None,
    ordinary: Annotated[
        list[str] | None,
        typer.Option(
            "--ordinary",
            metavar="TEXT",
            help="sentence of what is ordinary, to contrast with; by default several",
            rich_help_panel=WORDS,
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="TEXT",
            help="name the events of a run on image-text features by these sentences; at least two",
            rich_help_panel=WORDS,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="image-text backbone for --look-for; by default clip-b16",
            rich_help_panel=WORDS,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="print a JSON object per video", rich_help_panel=COMMON),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Score every frame of videos between 0 (ordinary) and 1 (anomalous).

    Examples:

    vad score video.mp4 --look-for "two people fighting" --look-for "a fire"

    vad score videos/ --false-alarms 2/h --prior 0.05 --format json,mp4
    """
    from vad import verbs
    from vad.errors import UsageError, VideoError
    from vad.stages.pipelines.results import Results, in_json, in_words
    from vad.store.backends import refuse_connection

    wanted, limit = parse_formats(formats), parse_threshold(threshold)
    if not videos and not store:
        raise UsageError("nothing to score", hint="name videos, or a --store")
    exit_code = 0
    tell = in_json if as_json else in_words
    # The report, which covers all videos, is written when this block ends.
    with Results(out, wanted, clips=clips, quiet=quiet, tell=tell) as results:
        if videos:
            outcome = verbs.score_videos(
                videos,
                detector,
                on_scores=results.add,
                store=store,
                threshold=limit,
                quiet=quiet,
                weights=weights,
                encoder=encoder,
                look_for=look_for or (),
                ordinary=ordinary or (),
                kinds=kinds or (),
                backbone=backbone,
                **asdict(settings),
            )
            results.fail(outcome.failed)
            exit_code = outcome.exit_code
        elif store:
            refuse_connection(store, offline=settings.offline)
            ours = (*fields(ScoreSettings), *fields(Decision))
            reading = {field.name: getattr(settings, field.name) for field in ours}
            failed: dict[str, VideoError] = {}

            def on_failed(video: str, error: VideoError) -> None:
                failed[video] = error
                log.warning("%s", error)

            for scores in verbs.score_store(
                store,
                detector,
                threshold=limit,
                device=settings.device,
                on_failed=on_failed,
                look_for=look_for or (),
                ordinary=ordinary or (),
                kinds=kinds or (),
                backbone=backbone,
                weights=weights,
                **reading,
            ):
                results.add(scores)
            results.fail(failed)
            exit_code = VideoError.exit_code if failed else 0
    if "json" in wanted and results.n_videos:
        tell_next(f"vad events {out} --threshold T, for other events without scoring again")
    raise typer.Exit(exit_code)
