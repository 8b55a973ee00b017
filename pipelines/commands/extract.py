"""`vad extract`: videos to a feature store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vad.config import build
from vad.stages.extract.settings import ExtractSettings

from ..executors.settings import ExecutorSettings, split
from ..options import Quiet, Store, takes


@dataclass(frozen=True, kw_only=True)
class Settings(ExecutorSettings, ExtractSettings):
    """How videos become features, and where."""


@takes(Settings, "extract")
def command(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEOS...", help="files, folders, globs or @list.txt")
    ],
    settings: dict[str, Any],
    store: Store = "features.zarr",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="extract stored videos again")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and stop")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Extract features of videos into a store; stored videos are skipped."""
    from vad.stages.extract.outcome import Failures
    from vad.stages.extract.run import estimate, make_plan
    from vad.stages.extract.sources import find_sources
    from vad.stages.pipelines.executors.extracting import load_for_plan, run_plan
    from vad.store import FeatureStore

    where, rest = split(settings, where="vad extract")
    chosen = build(ExtractSettings, rest, where="vad extract")
    sources = find_sources(videos)
    backbone = load_for_plan(chosen, where)
    plan = make_plan(sources, store, backbone, chosen, overwrite=overwrite)
    typer.echo(
        f"{len(plan.stored)} stored, {len(plan.todo)} to do: {plan.array} in {store}", err=True
    )
    if dry_run:
        size = estimate(plan, backbone, chosen)
        typer.echo(
            f"would extract {size.n_videos} videos, {size.n_frames:,} frames, "
            f"{size.duration_s / 3600:.2f} h: {size.store_bytes / 1e6:,.1f} MB before compression, "
            f"about {size.work_s / 60:.1f} min of computation"
        )
        for path, reason in size.unreadable.items():
            typer.echo(f"would fail: {path} ({reason})")
        return
    outcome = run_plan(plan, FeatureStore.create(store), backbone, chosen, where, quiet=quiet)
    typer.echo(
        f"{len(outcome.done)} done, {len(outcome.skipped)} skipped, {len(outcome.failed)} failed"
        + (f"; reasons in {Failures(store).path}" if outcome.failed else "")
    )
    raise typer.Exit(outcome.exit_code)
