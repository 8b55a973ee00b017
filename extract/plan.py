"""The plan of an extraction: which videos to process; estimate the work, and run the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vad.errors import VideoError
from vad.store import FeatureStore, Provenance

from .backbones.backbone import Backbone
from .decoders.video import probe
from .features import (
    FeatureMaker,
    LoadBackbone,
    decoding_of,
    grid_of,
    limits_of,
    load_backbone,
    load_features,
    provenance_of,
)
from .outcome import Outcome
from .records import is_unchanged, refuse_mix, refuse_sampling
from .runner import Executor, VideoRunner, in_this_process, run_videos
from .settings import ExtractSettings
from .sources import Shard, Source


@dataclass(frozen=True)
class Plan:
    """The videos that an extraction will process, those it will skip, and the arrays it
    will write.
    """

    todo: list[Source]
    stored: list[str]  # ids of the videos to skip, whose features are stored
    arrays: tuple[str, ...]  # names of the arrays in the store, that of the features first
    provenance: Provenance
    overwrite: bool = False


@dataclass(frozen=True)
class Estimate:
    """The size of a plan. Videos that cannot be opened are listed in `unreadable` and not
    counted.
    """

    n_videos: int
    n_frames: int
    n_snippets: int
    duration_s: float
    store_bytes: int  # before compression
    work_s: float  # computing time of the backbone, at a rate measured on one clip
    unreadable: dict[Path, str]  # the error's reason, by file


def make_plan(
    sources: list[Source],
    store: str | Path,
    backbone: Backbone,
    settings: ExtractSettings,
    *,
    overwrite: bool = False,
) -> Plan:
    """Sort the sources into videos to skip and videos to process. If the settings name a shard,
    only its videos are in the plan.

    overwrite: process stored videos too. Raises UsageError if the store holds features of the same
    name made with other settings, unless `overwrite` is set.
    """
    shard = Shard.parse(settings.shard)
    sources = [source for source in sources if source.id in shard]
    arrays, provenance = backbone.arrays, provenance_of(backbone, settings)
    if not FeatureStore.exists(store):
        return Plan(sources, [], arrays, provenance, overwrite)
    opened = FeatureStore.open(store)
    if overwrite:
        return Plan(sources, [], arrays, provenance, overwrite)
    hint = "use the same settings, another --store, or --overwrite"
    refuse_mix(opened, arrays[0], provenance, hint=hint)
    refuse_sampling(opened, grid_of(backbone, settings).sampling, hint=hint)
    ids = set(opened.ids())
    there = [source for source in sources if source.id in ids]
    found = zip(there, opened.map(lambda s: _is_stored(opened, s, arrays), there), strict=True)
    stored = [source.id for source, is_stored in found if is_stored]
    known = set(stored)
    return Plan([s for s in sources if s.id not in known], stored, arrays, provenance)


def _is_stored(store: FeatureStore, source: Source, arrays: Sequence[str]) -> bool:
    return store.is_intact(source.id, *arrays) and is_unchanged(
        source.path, store.record(source.id)
    )


def estimate(plan: Plan, backbone: Backbone, settings: ExtractSettings) -> Estimate:
    """Open every video of a plan, without decoding it, and sum up frames, snippets, bytes
    and time.
    """
    n_frames, n_snippets, duration_s = 0, 0, 0.0
    grid = grid_of(backbone, settings)
    unreadable: dict[Path, str] = {}
    for source in plan.todo:
        try:
            info = probe(source.path, limits_of(settings))
        except VideoError as error:
            unreadable[source.path] = error.reason
            continue
        n_frames += info.n_packets
        n_snippets += grid.n_snippets(info.n_packets)
        duration_s += info.n_packets / float(info.fps)
    shape = (1, backbone.recipe.window, 240, 320, 3)
    clip = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    backbone(clip)  # warm-up: the first pass is slower
    started = time.perf_counter()
    backbone(clip)
    return Estimate(
        n_videos=len(plan.todo) - len(unreadable),
        n_frames=n_frames,
        n_snippets=n_snippets,
        duration_s=duration_s,
        store_bytes=n_snippets * backbone.bytes_of_snippet(settings.dtype),
        work_s=n_snippets * (time.perf_counter() - started),
        unreadable=unreadable,
    )


def run_plan(
    plan: Plan,
    store: FeatureStore,
    backbone: Backbone,
    settings: ExtractSettings,
    *,
    quiet: bool = False,
    on_stored: Callable[[str], None] = lambda video: None,
    executor: Executor = in_this_process,
    load: LoadBackbone = load_backbone,
) -> Outcome:
    """Process the videos of a plan. The run can be interrupted at any time: committed videos stay
    stored, and the next run processes the others.

    on_stored: called with the id of every video whose features are stored, new or skipped.
    executor: processes the videos, in this process or elsewhere. load: loads the backbone in worker
    processes on other machines.
    """
    runner = VideoRunner(
        store.backend.address,
        partial(load_features, settings, load=load),
        {plan.arrays[0]: plan.provenance},
        decoding_of(settings, grid_of(backbone, settings)),
        overwrite=plan.overwrite,
        makers=[FeatureMaker(backbone, settings)],
    )
    outcome = Outcome(skipped=list(plan.stored))
    for video in plan.stored:
        on_stored(video)
    run_videos(
        runner,
        plan.todo,
        outcome,
        verb="extract",
        quiet=quiet,
        executor=executor,
        on_stored=on_stored,
    )
    return outcome
