"""Captioning on whichever executor the settings name. Embedding is done where the command runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vad.device import choose_device
from vad.errors import UsageError
from vad.progress import meter
from vad.stages.extract import captions
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.captions.caption_run import CaptionRun
from vad.stages.extract.captions.run import caption_run_of
from vad.stages.extract.outcome import Ended, Failures, Outcome
from vad.stages.extract.sources import Source
from vad.store import FeatureStore, differences

from .settings import ExecutorSettings, split


@dataclass
class Captioning:
    """The job of a worker that captions: the model is loaded once a worker."""

    store: str  # the address
    settings: CaptionSettings
    name: str  # of the captioner
    provenance: dict[str, Any]  # that every worker's captions must have
    caption_run: CaptionRun | None = field(default=None, init=False)

    def each(self, sources: Iterable[Source], n_cpus: int) -> Generator[Ended]:
        """Caption videos, as many at a time as there are cores to decode them."""
        caption_run = self.caption_run = self.caption_run or caption_run_of(
            FeatureStore.open(self.store),
            replace(self.settings, workers=n_cpus),
            self.name,
            choose_device(self.settings.device),
        )
        if differing := differences(self.provenance, caption_run.provenance):
            raise UsageError(
                f"a worker's captions would be others: it differs in {', '.join(differing)}",
                hint="install the same weights on every machine",
            )
        remaining = iter(sources)
        while some := list(islice(remaining, n_cpus)):
            outcome = Outcome()
            caption_run.run(some, outcome, quiet=True)
            yield from (Ended(source, outcome.failed.get(source.id)) for source in some)


def caption(
    store: str | Path = "features.zarr",
    *,
    videos: Iterable[str | Path] | str | Path = (),
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """`vad.caption` with the settings of `ExecutorSettings` besides: `executor="ray"`, ..."""
    where, rest = split(settings, where="caption")

    def on_ray(
        caption_run: CaptionRun, todo: Sequence[Source], outcome: Outcome, *, quiet: bool
    ) -> None:
        _run_on_ray(caption_run, todo, outcome, where, quiet=quiet)

    return captions.caption(
        store,
        videos=videos,
        overwrite=overwrite,
        quiet=quiet,
        run=on_ray if where.executor == "ray" else CaptionRun.run,
        **rest,
    )


def _run_on_ray(
    caption_run: CaptionRun,
    todo: Sequence[Source],
    outcome: Outcome,
    where: ExecutorSettings,
    *,
    quiet: bool,
) -> None:
    from .cluster import on_cluster

    name = caption_run.array.removeprefix("captions/")
    job = Captioning(
        caption_run.store.backend.address, caption_run.settings, name, caption_run.provenance
    )
    todo = [Source(source.id, source.path.absolute()) for source in todo]
    ends = on_cluster(job, todo, where, device=caption_run.settings.device)
    with closing(ends), meter("caption", len(todo), unit="videos", quiet=quiet) as progress:
        for end in ends:
            if end.error is not None:
                outcome.failed[end.source.id] = end.error
                Failures(caption_run.store.backend).note(end.source, end.error)
            else:
                outcome.done.append(end.source.id)
            progress.advance()
