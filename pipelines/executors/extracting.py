"""Extraction on whichever executor the settings name."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vad.config import build
from vad.device import names_of_devices
from vad.errors import UsageError
from vad.progress import meter
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.outcome import Ended, Outcome
from vad.stages.extract.run import (
    Plan,
    extract_each,
    gather,
    load_backbone,
    make_plan,
    provenance_of,
    run,
)
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source, find_sources
from vad.store import FeatureStore, differences

from .settings import ExecutorSettings, split

log = logging.getLogger("vad")


@dataclass
class Extraction:
    """The job of a worker that extracts: the model is loaded once a worker."""

    store: str  # the address
    settings: ExtractSettings
    array: str
    provenance: dict[str, Any]  # that every worker's features must have
    overwrite: bool = False
    load: Callable[[ExtractSettings], Backbone] = load_backbone
    backbone: Backbone | None = field(default=None, init=False)

    def each(self, sources: Iterable[Source], n_cpus: int) -> Generator[Ended]:
        """Extract videos as they are asked for, with a decoder a core."""
        self.backbone = self.backbone or self.load(self.settings)
        here = provenance_of(self.backbone, self.settings)
        if differing := differences(self.provenance, here):
            name, (wanted, found) = next(iter(differing.items()))
            raise UsageError(
                f"a worker's features would be others: {name} is {found!r} there, {wanted!r} here",
                hint="install the same weights on every machine",
            )
        if not FeatureStore.exists(self.store):
            raise UsageError(
                f"the machine {socket.gethostname()} does not see {self.store}",
                hint="put videos and store on a disk that all machines share",
            )
        yield from extract_each(
            sources,
            FeatureStore.open(self.store),
            self.backbone,
            replace(self.settings, workers=n_cpus),
            array=self.array,
            overwrite=self.overwrite,
        )


def extract(
    inputs: Iterable[str | Path] | str | Path,
    store: str | Path = "features.zarr",
    *,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """`vad.extract`: `settings` are those of `ExtractSettings` and `ExecutorSettings`."""
    where, rest = split(settings, where="extract")
    chosen = build(ExtractSettings, rest, where="extract")
    plan, backbone = prepare(inputs, store, chosen, where, overwrite=overwrite)
    return run_plan(plan, FeatureStore.create(store), backbone, chosen, where, quiet=quiet)


def prepare(
    inputs: Iterable[str | Path] | str | Path,
    store: str | Path,
    settings: ExtractSettings,
    where: ExecutorSettings,
    *,
    overwrite: bool,
) -> tuple[Plan, Backbone]:
    """What an extraction would do, which is told in one line, and the backbone for it."""
    sources = find_sources([inputs] if isinstance(inputs, str | Path) else inputs)
    backbone = load_for_plan(settings, where)
    plan = make_plan(sources, store, backbone, settings, overwrite=overwrite)
    log.info("%d stored, %d to do: %s in %s", len(plan.stored), len(plan.todo), plan.array, store)
    return plan, backbone


def load_for_plan(settings: ExtractSettings, where: ExecutorSettings) -> Backbone:
    """The backbone that a plan is made of; on Ray this machine may well have no GPU."""
    device = "cpu" if where.executor == "ray" else names_of_devices(settings.device)[0]
    return load_backbone(replace(settings, device=device))


def run_plan(
    plan: Plan,
    store: FeatureStore,
    backbone: Backbone,
    settings: ExtractSettings,
    where: ExecutorSettings,
    *,
    quiet: bool = False,
    on_stored: Callable[[str], None] = lambda video: None,
    load: Callable[[ExtractSettings], Backbone] = load_backbone,
) -> Outcome:
    """Do a plan in this process, in one for each of several devices, or on a Ray cluster."""
    devices = names_of_devices(settings.device)
    if not plan.todo or (where.executor == "local" and len(devices) == 1):
        return run(plan, store, backbone, settings, quiet=quiet, on_stored=on_stored)
    job = Extraction(
        store.backend.address, settings, plan.array, plan.provenance, plan.overwrite, load
    )
    todo = [Source(source.id, source.path.absolute()) for source in plan.todo]
    if where.executor == "local":
        from .devices import on_devices

        ends = on_devices(job, todo, devices)
    else:
        from .cluster import on_cluster

        ends = on_cluster(job, todo, where, device=settings.device)
    with meter("extract", len(todo), unit="videos", quiet=quiet) as progress:
        return gather(ends, plan, store, progress, on_stored=on_stored)
