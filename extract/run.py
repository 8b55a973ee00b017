"""The extraction run: which videos are to do, and the loop that does them.

    decoder processes ──clips──> pipeline: backbone, writer ──whole videos──> store

Decoding runs ahead in its own processes; `pipeline` computes and commits every video whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vad.config import build
from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES, Tail
from vad.progress import Meter, meter
from vad.store import FeatureStore, differences
from vad.version import VERSION

from .backbones import create_backbone
from .backbones.backbone import Backbone
from .claims_queue import ClaimsQueue
from .decoders.pool import DecoderPool
from .decoders.video import Limits, probe
from .outcome import Ended, Failures, Outcome
from .pipeline import Pipeline
from .records import is_unchanged
from .settings import ExtractSettings
from .sources import Shard, Source, find_sources

CLIPS_PER_BLOCK = 4  # that a decoder hands over together


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    todo: list[Source]
    stored: list[str]  # ids of videos that need nothing
    array: str  # name of the array in the store
    provenance: dict[str, Any]
    overwrite: bool = False


@dataclass(frozen=True)
class Estimate:
    """The size of a plan, without the videos that cannot be opened."""

    n_videos: int
    n_frames: int
    duration_s: float
    store_bytes: int  # before compression
    work_s: float  # of the backbone, at the rate measured just now
    unreadable: dict[Path, str]  # reason by file


def extract(
    inputs: Iterable[str | Path] | str | Path,
    store: str | Path = "features.zarr",
    *,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """Extract the features of videos into a store; what is stored already is skipped.

    Parameters are those of `ExtractSettings`. Raises UsageError for wrong input; a video that
    cannot be used is in `Outcome.failed` and in `failures.jsonl`, and does not stop the run.
    """
    chosen = build(ExtractSettings, settings, where="extract")
    sources = find_sources([inputs] if isinstance(inputs, str | Path) else inputs)
    backbone = load_backbone(chosen)
    plan = make_plan(sources, store, backbone, chosen, overwrite=overwrite)
    return run(plan, FeatureStore.create(store), backbone, chosen, quiet=quiet)


def load_backbone(settings: ExtractSettings) -> Backbone:
    """The backbone that the settings name, on its device."""
    return create_backbone(
        settings.backbone,
        weights=settings.weights,
        recipe=settings.recipe,
        crops=settings.crops,
        device=choose_device(settings.device),
        precision=settings.precision,
        batch=settings.batch,
        offline=settings.offline,
    )


def make_plan(
    sources: list[Source],
    store: str | Path,
    backbone: Backbone,
    settings: ExtractSettings,
    *,
    overwrite: bool = False,
) -> Plan:
    """Sort the sources, of which there may be a shard only, into stored and to do.

    Raises UsageError if the store holds features of the same name made with other settings.
    """
    shard = Shard.parse(settings.shard)
    sources = [source for source in sources if source.id in shard]
    array, provenance = f"visual/{backbone.name}", provenance_of(backbone, settings)
    if not FeatureStore.exists(store):
        return Plan(sources, [], array, provenance, overwrite)
    opened = FeatureStore.open(store)
    before = opened.provenance(array)
    if before and (differing := differences(provenance, before)) and not overwrite:
        words = "; ".join(f"{n}: {new!r} now, {old!r} there" for n, (new, old) in differing.items())
        raise UsageError(
            f"{store} holds {array} made with other settings ({words})",
            hint="use the same settings, another --store, or --overwrite",
        )
    ids = set() if overwrite else set(opened.ids())
    there = [source for source in sources if source.id in ids]
    found = zip(there, opened.each(lambda s: _is_stored(opened, s, array), there), strict=True)
    stored = [source.id for source, is_stored in found if is_stored]
    known = set(stored)
    todo = [s for s in sources if s.id not in known]
    return Plan(todo, stored, array, provenance, overwrite)


def provenance_of(backbone: Backbone, settings: ExtractSettings) -> dict[str, Any]:
    """All that the features of a backbone depend on, as the store keeps it."""
    return {
        **backbone.provenance,
        "clip_frames": CLIP_FRAMES,
        "tail": _tail(backbone, settings),
        "dtype": settings.dtype,
        "vad": VERSION,
    }


def estimate(plan: Plan, backbone: Backbone, settings: ExtractSettings) -> Estimate:
    """Open every video of a plan, without decoding it, and add up what is to do."""
    n_frames, duration_s = 0, 0.0
    unreadable: dict[Path, str] = {}
    for source in plan.todo:
        try:
            info = probe(source.path, _limits(settings))
        except VideoError as error:
            unreadable[source.path] = error.reason
            continue
        declared = info.n_frames_declared or round((info.duration_s or 0) * info.fps)
        n_frames += declared
        duration_s += declared / float(info.fps)
    n_snippets = -(-n_frames // CLIP_FRAMES)
    clip = np.random.default_rng(0).integers(0, 256, (1, CLIP_FRAMES, 240, 320, 3), np.uint8)
    backbone(clip)  # the first pass also sets things up
    started = time.perf_counter()
    backbone(clip)
    return Estimate(
        n_videos=len(plan.todo) - len(unreadable),
        n_frames=n_frames,
        duration_s=duration_s,
        store_bytes=n_snippets
        * len(backbone.crops)
        * backbone.dim
        * np.dtype(settings.dtype).itemsize,
        work_s=n_snippets * (time.perf_counter() - started),
        unreadable=unreadable,
    )


def run(
    plan: Plan,
    store: FeatureStore,
    backbone: Backbone,
    settings: ExtractSettings,
    *,
    quiet: bool = False,
    on_stored: Callable[[str], None] = lambda video: None,
) -> Outcome:
    """Do a plan. Interrupt it at any moment: what is committed stays, the rest is redone.

    on_stored gets the id of every video once its features are there, new or not.
    """
    workers = min(settings.workers, max(1, len(plan.todo)))
    settings = replace(settings, workers=workers)
    with meter("extract", len(plan.todo), unit="videos", quiet=quiet) as progress:
        ends = extract_each(
            plan.todo,
            store,
            backbone,
            settings,
            array=plan.array,
            overwrite=plan.overwrite,
            progress=progress,
        )
        return gather(ends, plan, store, progress, on_stored=on_stored)


def gather(
    ends: Generator[Ended],
    plan: Plan,
    store: FeatureStore,
    progress: Meter,
    *,
    on_stored: Callable[[str], None] = lambda video: None,
) -> Outcome:
    """Note how every video of a plan ends, wherever it is done."""
    outcome = Outcome(skipped=list(plan.stored))
    for video in plan.stored:
        on_stored(video)
    failures = Failures(store.backend)
    with closing(ends):
        for end in ends:
            source, error = end.source, end.error
            if error is not None:
                outcome.failed[source.id] = error
                failures.note(source, error)
            else:
                (outcome.skipped if end.by_others else outcome.done).append(source.id)
            progress.advance(name=source.id)
            if error is None:
                on_stored(source.id)
    failures.forget(set(store.ids()))
    return outcome


def extract_each(
    todo: Iterable[Source],
    store: FeatureStore,
    backbone: Backbone,
    settings: ExtractSettings,
    *,
    array: str,
    overwrite: bool = False,
    progress: Meter | None = None,
) -> Generator[Ended]:
    """Extract videos, each claimed when a decoder is free for it, and tell how each ended."""
    store.sweep()
    provenance, tail = provenance_of(backbone, settings), _tail(backbone, settings)
    pool = DecoderPool(
        settings.workers,
        clips_per_block=CLIPS_PER_BLOCK,
        tail=tail,
        decoder=settings.decoder,
        limits=_limits(settings),
        time_limit_s=settings.time_limit,
        accept_truncated=settings.accept_truncated,
        empty=backbone.empty,
    )
    with pool, store.backend.claims() as claims:
        while True:
            queue = ClaimsQueue(
                todo, claims, lambda s: not overwrite and _is_stored(store, s, array)
            )
            with Pipeline(
                store,
                backbone,
                array=array,
                provenance=provenance,
                dtype=settings.dtype,
                tail=tail,
                progress=progress,
            ) as pipeline:
                for end in pipeline.store(pool.decode(queue.paths()), queue.mine):
                    yield end
                    claims.release(end.source.id)
            for source in queue.stored:
                yield Ended(source, by_others=True)
            if not queue.others:
                return
            todo = queue.others
            time.sleep(claims.poll_s)


def _is_stored(store: FeatureStore, source: Source, array: str) -> bool:
    """Whether the video is stored from the content that the file has now."""
    if source.id not in store or array not in store.names(source.id):
        return False
    return is_unchanged(source.path, store.record(source.id))


def _tail(backbone: Backbone, settings: ExtractSettings) -> Tail:
    return settings.tail or backbone.recipe.tail


def _limits(settings: ExtractSettings) -> Limits:
    return Limits(max_pixels=settings.max_pixels)
