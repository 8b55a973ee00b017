"""`extract` and `caption`, run in this process, on several GPUs, or on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vad.config import build
from vad.device import names_of_devices
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.features import LoadBackbone, load_backbone
from vad.stages.extract.outcome import Ended, Outcome
from vad.stages.extract.plan import Plan, make_plan, run_plan
from vad.stages.extract.runner import Executor, VideoRunner, in_this_process
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source, find_sources
from vad.store import FeatureStore
from vad.store.backends import refuse_connection
from vad.terminal import Meter

from .settings import ExecutorSettings, split

log = logging.getLogger("vad")

Videos = Iterable[str | Path] | str | Path


def extract(
    inputs: Videos,
    store: str | Path = "features.zarr",
    *,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """Extract the features of videos into a store; videos that are stored already are skipped.

    `settings` are those of `ExtractSettings` and `ExecutorSettings`. Raises UsageError for wrong
    input. A video that cannot be used is listed in `Outcome.failed` and in `failures.jsonl`, and
    does not stop the others.
    """
    where, rest = split(settings, where="extract")
    chosen = build(ExtractSettings, rest, where="extract")
    plan, backbone = prepare(inputs, store, chosen, where, overwrite=overwrite)
    return run_plan_on(plan, FeatureStore.create(store), backbone, chosen, where, quiet=quiet)


def prepare(
    inputs: Videos,
    store: str | Path,
    settings: ExtractSettings,
    where: ExecutorSettings,
    *,
    overwrite: bool,
) -> tuple[Plan, Backbone]:
    """Return the plan of an extraction and the backbone for it; the plan is logged in one line."""
    refuse_connection(store, offline=settings.offline)
    sources = find_sources([inputs] if isinstance(inputs, str | Path) else inputs)
    backbone = backbone_for_plan(settings, where)
    plan = make_plan(sources, store, backbone, settings, overwrite=overwrite)
    log.info(
        "%d stored, %d to do: %s in %s", len(plan.stored), len(plan.todo), plan.arrays[0], store
    )
    return plan, backbone


def caption(
    store: str | Path = "features.zarr",
    *,
    videos: Videos = (),
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """Caption the videos of a store and embed the captions; videos with captions are skipped.

    videos: files to caption, whether the store has them or not; by default all videos of the store.
    `settings` are those of `CaptionSettings` and `ExecutorSettings`. The captions are embedded in
    this process, whatever the executor. Raises and returns as `extract` does.
    """
    from vad.stages.extract.captions.run import caption

    where, rest = split(settings, where="caption")
    chosen = build(CaptionSettings, rest, where="caption")
    refuse_connection(store, offline=chosen.offline)
    executor = executor_for(where, chosen.device)
    return caption(
        store, chosen, videos=videos, overwrite=overwrite, quiet=quiet, executor=executor
    )


def backbone_for_plan(settings: ExtractSettings, where: ExecutorSettings) -> Backbone:
    """Return the backbone that describes a plan. With Ray it is on the CPU: only workers need a
    GPU.
    """
    device = "cpu" if where.executor == "ray" else names_of_devices(settings.device)[0]
    return load_backbone(replace(settings, device=device))


def run_plan_on(
    plan: Plan,
    store: FeatureStore,
    backbone: Backbone,
    settings: ExtractSettings,
    where: ExecutorSettings,
    *,
    quiet: bool = False,
    on_stored: Callable[[str], None] = lambda video: None,
    load: LoadBackbone = load_backbone,
) -> Outcome:
    """Process the videos of a plan on the executor; see `vad.stages.extract.plan.run_plan`."""
    executor = executor_for(where, settings.device)
    return run_plan(
        plan,
        store,
        backbone,
        settings,
        quiet=quiet,
        on_stored=on_stored,
        executor=executor,
        load=load,
    )


def executor_for(where: ExecutorSettings, device: str) -> Executor:
    """Return the function that processes videos: in this process, on several devices, or on a
    cluster.

    device: one device, or several as the setting `device` names them.
    """
    devices = names_of_devices(device)
    if where.executor == "local" and len(devices) == 1:
        return in_this_process

    def elsewhere(runner: VideoRunner, todo: list[Source], progress: Meter) -> Generator[Ended]:
        from .cluster import on_cluster
        from .devices import on_devices

        if not todo:
            return
        everywhere = [Source(source.id, source.path.absolute()) for source in todo]
        if where.executor == "local":
            yield from on_devices(runner, everywhere, devices)
        else:
            yield from on_cluster(runner, everywhere, where, device=device)

    return elsewhere
