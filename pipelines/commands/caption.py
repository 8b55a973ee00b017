"""`vad caption`: caption every snippet of the videos of a store, and embed the captions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from vad.stages.extract.captioners.settings import CaptionSettings

from ..executors.settings import ExecutorSettings
from ..options import COMMON, STORE, Quiet, StoreArgument, takes, tell_outcome, with_store


@dataclass(frozen=True, kw_only=True)
class Settings(ExecutorSettings, CaptionSettings):
    """The options of `vad caption`: how videos are captioned, and on which machines."""


@takes(Settings, "caption")
def command(
    store: StoreArgument = STORE,
    videos: Annotated[
        list[str] | None,
        typer.Option(
            "--videos",
            metavar="PATH",
            help="caption these, stored or not; repeatable",
            rich_help_panel=COMMON,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="caption and embed stored videos again", rich_help_panel=COMMON
        ),
    ] = False,
    quiet: Quiet = False,
    *,
    settings: Settings,
) -> None:
    """Caption every snippet of a store, and embed the captions.

    Without --captioner, captions that are stored already are embedded, by --encoder.

    Examples:

    vad caption

    vad caption features.zarr --captioner git --encoder simcse
    """
    from vad.verbs import caption

    outcome = caption(
        store, videos=videos or (), overwrite=overwrite, quiet=quiet, **asdict(settings)
    )
    text = settings.name or settings.encoder.partition(":")[0]
    tell_outcome(outcome, store, f"{with_store('vad train', store)} --text {text}")
