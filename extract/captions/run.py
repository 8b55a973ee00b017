"""The captioning run: a sentence for every snippet of a store, and an embedding for every sentence.

    frames, or a file ──captioner──> captions/<captioner> [snippets] utf-8
    captions ──encoder──> text/<encoder> [snippets, dim] float32

Row i of both speaks of snippet i, as of every array of the store. Each step skips what is stored,
so that another encoder alone embeds the captions again without a look at the videos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vad.config import build
from vad.device import choose_device
from vad.errors import UsageError
from vad.grid import CLIP_FRAMES
from vad.progress import meter
from vad.store import INFORMATION, FeatureStore, differences
from vad.version import VERSION

from ..captioners import CaptionerCard, create_captioner, find_captioner
from ..captioners.settings import CaptionSettings
from ..outcome import Outcome
from ..sentences import create_encoder, find_encoder
from ..sentences.encoder import SentenceEncoder
from ..sources import Source, find_sources
from .caption_run import CaptionRun
from .reading import read_into

SENTENCES_AT_ONCE = 2_000  # new ones, after which the videos that have them are stored
KEPT = 50_000  # embeddings of sentences that may come again: 150 MB of 768-d


class Run(Protocol):
    """Captions videos, and adds to the outcome what became of them, as `CaptionRun.run` does."""

    def __call__(
        self, caption_run: CaptionRun, /, todo: Sequence[Source], outcome: Outcome, *, quiet: bool
    ) -> None: ...


def caption(
    store: str | Path = "features.zarr",
    *,
    videos: Iterable[str | Path] | str | Path = (),
    overwrite: bool = False,
    quiet: bool = False,
    run: Run = CaptionRun.run,
    **settings: Any,
) -> Outcome:
    """Caption the videos of a store and embed the captions; what is stored already is skipped.

    videos: files to caption, whether the store has them or not; by default all that it has.
    run: what looks at them, where that is not to happen in this process.
    `settings` are those of `CaptionSettings`. Raises UsageError for wrong input; a video that
    cannot be used is in `Outcome.failed` and in `failures.jsonl`, and does not stop the run.
    """
    chosen = build(CaptionSettings, settings, where="caption")
    _check(chosen)
    sources = find_sources([videos] if isinstance(videos, str | Path) else videos) if videos else []
    device = choose_device(chosen.device)
    encoder = create_encoder(chosen.encoder, device=device, offline=chosen.offline)
    card = _choose(store, chosen.captioner, sources)
    outcome = Outcome()
    if card.is_file:
        if sources:
            raise UsageError("captions of a file need no videos", hint="leave --videos out")
        opened = FeatureStore.create(store)
        read_into(opened, card, chosen, outcome, overwrite=overwrite, quiet=quiet)
    else:
        opened = FeatureStore.create(store) if sources else FeatureStore.open(store)
        look(
            opened,
            card,
            chosen,
            sources,
            device,
            outcome,
            overwrite=overwrite,
            quiet=quiet,
            run=run,
        )
    embed(opened, card.name, encoder, chosen.name, outcome, overwrite=overwrite, quiet=quiet)
    outcome.skipped = [v for v in opened.ids() if v not in {*outcome.done, *outcome.failed}]
    return outcome


def _check(settings: CaptionSettings) -> None:
    """Raises UsageError for settings that cannot be, before anything is loaded."""
    find_encoder(settings.encoder)
    for name in ("stride", "window"):
        value = getattr(settings, name)
        if value is not None and value % CLIP_FRAMES:
            raise UsageError(f"a {name} of {value} frames is no multiple of {CLIP_FRAMES}")
    if settings.name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", settings.name):
        raise UsageError(f"{settings.name!r} is no name", hint="use letters, digits, - and _")


def _choose(store: str | Path, captioner: str | None, sources: list[Source]) -> CaptionerCard:
    """The captioner asked for; else that of the captions which are stored; else `labels`."""
    if captioner is not None:
        return find_captioner(captioner)
    stored: set[str] = set()
    if FeatureStore.exists(store) and not sources:
        names = FeatureStore.open(store).all_names()
        stored = {name.split("/")[1] for name in names if name.startswith("captions/")}
    if len(stored) > 1:
        raise UsageError(
            f"{store} holds captions of {', '.join(sorted(stored))}", hint="choose with --captioner"
        )
    if not stored:
        return find_captioner("labels")
    return CaptionerCard(stored.pop(), "", "", window=0, n_frames=0)  # nothing is to be loaded


def look(
    store: FeatureStore,
    card: CaptionerCard,
    settings: CaptionSettings,
    sources: list[Source],
    device: torch.device,
    outcome: Outcome,
    *,
    overwrite: bool,
    quiet: bool,
    run: Run,
) -> None:
    """Caption the videos that have no captions of that captioner yet."""
    array = f"captions/{card.name}"
    stored = set(store.having(array))
    if not card.loader:
        return
    if not sources:
        records = zip(ids := store.ids(), store.each(store.record, ids), strict=True)
        sources = [Source(video, Path(record.source)) for video, record in records]
    todo = [source for source in sources if overwrite or source.id not in stored]
    cheap = {"window": settings.window or card.window, "stride": settings.stride}
    before = store.provenance(array) or cheap
    if not todo and all(before.get(name) == value for name, value in cheap.items()):
        return
    caption_run = caption_run_of(store, settings, card.name, device)
    refuse_mix(store, array, caption_run.provenance, overwrite=overwrite)
    run(caption_run, todo, outcome, quiet=quiet)


def caption_run_of(
    store: FeatureStore, settings: CaptionSettings, name: str, device: torch.device
) -> CaptionRun:
    """The captioner of that name, or the one that the settings spell out, ready to look."""
    captioner = create_captioner(
        settings.captioner or name,
        window=settings.window,
        device=device,
        precision=settings.precision,
        offline=settings.offline,
    )
    provenance = {**captioner.provenance, "stride": settings.stride, "vad": VERSION}
    return CaptionRun(store, captioner, f"captions/{name}", provenance, settings)


def embed(
    store: FeatureStore,
    captions: str,
    encoder: SentenceEncoder,
    name: str | None,
    outcome: Outcome,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Embed stored captions into `text/<name>`, by default the encoder's name."""
    source, array = f"captions/{captions}", f"text/{name or encoder.name}"
    made = store.provenance(source)
    if made is None:
        return
    kept = {name: value for name, value in made.items() if name not in INFORMATION}
    provenance = {**encoder.provenance, "captions": kept, "vad": VERSION}
    refuse_mix(store, array, provenance, overwrite=overwrite)
    done = set(outcome.done)
    stored = set() if overwrite else set(store.having(array))
    todo = [video for video in store.having(source) if video not in stored]
    known: dict[str, NDArray[np.float32]] = {}
    rows: dict[str, list[str]] = {}
    new: set[str] = set()
    with meter("embed", len(todo), unit="videos", quiet=quiet) as progress:
        every = store.each(lambda video: store.read(video, source).tolist(), todo)
        for video, texts in zip(todo, every, strict=True):
            rows[video] = texts
            new |= set(rows[video]) - known.keys()
            if len(new) < SENTENCES_AT_ONCE and video != todo[-1]:
                continue
            unique = sorted(new)  # in one order, so that every run computes alike
            known |= zip(unique, encoder(unique), strict=True)
            for _ in store.each(
                partial(_store_rows, store, array, known, provenance), rows.items()
            ):
                progress.advance()
            done.update(rows)
            rows, new = {}, set()
            known = known if len(known) < KEPT else {}
    outcome.done = sorted(done)


def _store_rows(
    store: FeatureStore,
    array: str,
    known: Mapping[str, NDArray[np.float32]],
    provenance: Mapping[str, Any],
    captions: tuple[str, list[str]],
) -> None:
    """Commit the embeddings of a video's captions, which are known by now."""
    video, texts = captions
    draft = store.draft(video)
    draft.append(array, np.stack([known[text] for text in texts]))
    draft.commit(store.record(video), store.times(video), {array: provenance})


def refuse_mix(
    store: FeatureStore, array: str, provenance: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Raises UsageError if the store holds an array of that name made with other settings."""
    before = store.provenance(array)
    if before and (differing := differences(provenance, before)) and not overwrite:
        words = "; ".join(f"{n}: {new!r} now, {old!r} there" for n, (new, old) in differing.items())
        raise UsageError(
            f"{store.backend} holds {array} made with other settings ({words})",
            hint="use the same settings, another --name or --store, or --overwrite",
        )
