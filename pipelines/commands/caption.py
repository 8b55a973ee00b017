"""`vad caption`: a sentence and its embedding for every snippet of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vad.stages.extract.captioners.settings import CaptionSettings

from ..executors.settings import ExecutorSettings
from ..options import Quiet, StoreArgument, takes


@dataclass(frozen=True, kw_only=True)
class Settings(ExecutorSettings, CaptionSettings):
    """How videos become captions, and where."""


@takes(Settings, "caption")
def command(
    store: StoreArgument = "features.zarr",
    videos: Annotated[
        list[str] | None,
        typer.Option("--videos", metavar="PATH", help="caption these, stored or not; repeatable"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="caption and embed stored videos again")
    ] = False,
    quiet: Quiet = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Caption every snippet of a store, and embed the captions.

    Without --captioner, captions that are stored already are embedded, by --encoder.
    """
    from vad.stages.extract.outcome import Failures
    from vad.stages.pipelines.executors.captioning import caption

    outcome = caption(store, videos=videos or (), overwrite=overwrite, quiet=quiet, **settings)
    typer.echo(
        f"{len(outcome.done)} done, {len(outcome.skipped)} skipped, {len(outcome.failed)} failed"
        + (f"; reasons in {Failures(store).path}" if outcome.failed else "")
    )
    raise typer.Exit(outcome.exit_code)
