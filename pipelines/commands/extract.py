"""`vad extract`: extract the features of videos into a feature store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from vad.stages.extract.settings import ExtractSettings

from ..executors.settings import ExecutorSettings
from ..options import COMMON, STORE, Quiet, Store, takes, tell_outcome, with_store


@dataclass(frozen=True, kw_only=True)
class Settings(ExecutorSettings, ExtractSettings):
    """The options of `vad extract`: how features are extracted, and on which machines."""


@takes(Settings, "extract")
def command(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEOS...", help="files, folders, globs or @list.txt")
    ],
    settings: Settings,
    store: Store = STORE,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="extract stored videos again", rich_help_panel=COMMON),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="tell what would be done", rich_help_panel=COMMON),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Extract features of videos into a store; stored videos are skipped.

    Examples:

    vad extract videos/

    vad extract @videos.txt --backbone i3d --store s3://bucket/features.zarr
    """
    from vad.verbs import extract

    if dry_run:
        _tell_estimate(videos, store, settings, overwrite=overwrite)
        return
    outcome = extract(videos, store, overwrite=overwrite, quiet=quiet, **asdict(settings))
    tell_outcome(outcome, store, with_store("vad train", store))


def _tell_estimate(videos: list[str], store: str, settings: Settings, *, overwrite: bool) -> None:
    from vad.stages.extract.plan import estimate
    from vad.stages.pipelines.executors.run import prepare

    plan, backbone = prepare(videos, store, settings, settings, overwrite=overwrite)
    size = estimate(plan, backbone, settings)
    typer.echo(
        f"would extract {size.n_videos} videos, {size.n_frames:,} frames, "
        f"{size.duration_s / 3600:.2f} h: {size.store_bytes / 1e6:,.1f} MB before compression, "
        f"about {size.work_s / 60:.1f} min of computation"
    )
    for path, reason in size.unreadable.items():
        typer.echo(f"would fail: {path} ({reason})")
