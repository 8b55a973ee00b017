"""`vad evaluate`: measure runs on annotated frames, singly, pooled over folds, or side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ..options import Json, Offline, tell_next


def command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN...",
            help="folders of vad train, also with --seeds; by default the newest in runs/",
        ),
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(
            "--segments",
            metavar="CSV",
            help="video,start_frame,end_frame; by default segments.csv",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="NPY",
            help="instead, a published array: 0 or 1 per frame, videos in the order of the list",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="STORE", help="feature store; by default the one trained on"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="labels file with the videos; by default those that the run lists"
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="videos to measure on: train, validation or test")
    ] = "test",
    pooled: Annotated[
        bool,
        typer.Option(
            "--pool", help="the runs are folds of one cross-validation: pool them into one result"
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="folder for the files; by default RUN/evaluation-SPLIT, for several runs "
            "comparison-SPLIT (with --pool: folds-SPLIT) beside them",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")] = "auto",
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Measure runs on videos whose anomalous frames are known.

    Prints a table, and writes metrics.json, plots and evaluation.html. A folder
    of several seeds gives a column of means, with the deviations in brackets.

    Examples:

    vad evaluate runs/rtfm

    vad evaluate runs/fold-* --pool --segments segments.csv
    """
    from vad.files import check_writable
    from vad.stages.infer.evaluation.files import save, save_comparison
    from vad.stages.infer.evaluation.run import by_seed, check_comparable, evaluate, pool
    from vad.stages.infer.evaluation.spread import spread_table
    from vad.stages.infer.evaluation.tables import metrics_table, worst_table
    from vad.stages.pipelines.project import newest_run
    from vad.stages.train.seeds import folder_of, runs_of

    groups = {str(run): runs_of(run) or [run] for run in runs or [newest_run(None)]}
    runs = [run for group in groups.values() for run in group]
    if truth is None and segments is None:
        segments = Path("segments.csv")
    beside = Path(os.path.commonpath([run.resolve().parent for run in runs]))
    if pooled:
        folder = out or beside / f"folds-{split}"
    elif len(runs) == 1:
        folder = out or runs[0] / f"evaluation-{split}"
    else:
        folder = out or beside / f"comparison-{split}"
    folders = [run / f"evaluation-{split}" for run in runs]  # of each result, if there are several
    for place in [folder] if pooled or len(runs) == 1 else [folder, *folders]:
        check_writable(place)
    found = [
        evaluate(
            run,
            segments,
            truth=truth,
            store=store,
            labels=labels,
            split=split,
            device=device,
            offline=offline,
        )
        for run in runs
    ]
    if pooled:
        sets = by_seed(found)
        found = [pool(folds) for folds in sets.values()]
        folders = [folder_of(folder, seed) for seed in sets]
        groups = {"pooled folds": [evaluation.path for evaluation in found]}
    if len(found) == 1:
        save(found[0], folder)
    else:
        check_comparable(found)
        for place, evaluation in zip(folders, found, strict=True):
            save(evaluation, place)
        save_comparison(found, folder)
    results = [evaluation.metrics for evaluation in found]
    if as_json:
        figures = [result.to_dict() for result in results]
        typer.echo(json.dumps(figures[0] if len(figures) == 1 else figures, allow_nan=False))
    elif len(groups) < len(results):
        each = iter(results)
        typer.echo(spread_table({n: [next(each) for _ in group] for n, group in groups.items()}))
    else:
        typer.echo(metrics_table(results))
        if len(results) == 1 and (worst := worst_table(results[0])):
            typer.echo(worst)
    typer.echo(f"{folder}: metrics.json, plots, evaluation.html", err=True)
    tell_next(f"vad score VIDEO --detector {runs[0]}")
