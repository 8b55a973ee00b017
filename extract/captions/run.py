"""The captioning run: a sentence for every snippet of a store, and an embedding for every sentence.

    frames, or a file ──captioner──> captions/<captioner> [snippets] utf-8
    captions ──encoder──> text/<encoder> [snippets, dim] float32

Row i of both belongs to snippet i, as in every array of the store. Each step skips what is stored:
with another encoder, stored captions are embedded again without a look at the videos.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device, names_of_devices
from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES
from vad.progress import meter
from vad.store import INFORMATION, FeatureStore, differences
from vad.version import VERSION

from ..captioners import CAPTIONERS, CaptionerCard, find_captioner
from ..captioners.settings import CaptionSettings
from ..decoders.video import Limits
from ..outcome import Failures, Outcome
from ..records import refuse_mix
from ..runner import Decoding, Each, VideoRunner, in_this_process, run_videos
from ..sentences import create_encoder, find_encoder
from ..sentences.encoder import SentenceEncoder
from ..sources import Source, find_sources
from .from_files import store_captions_of_files
from .maker import load_captions

log = logging.getLogger("vad")

SENTENCES_AT_ONCE = 2_000  # new ones, after which the videos that have them are stored
KEPT = 50_000  # embeddings of sentences that may come again: 150 MB of 768-d
HINT = "use the same settings, another --name or --store, or --overwrite"


def caption(
    store: str | Path,
    settings: CaptionSettings,
    *,
    videos: Iterable[str | Path] | str | Path = (),
    overwrite: bool = False,
    quiet: bool = False,
    each: Each = in_this_process,
) -> Outcome:
    """Caption the videos of a store and embed the captions; what is stored already is skipped.

    videos: files to caption, whether the store has them or not; by default all that it has.
    each: where the videos are done. Raises UsageError for wrong input; a video that cannot be used
    is in `Outcome.failed` and in `failures.jsonl`, and does not stop the run.
    """
    _check(settings)
    sources = find_sources([videos] if isinstance(videos, str | Path) else videos) if videos else []
    encoder = load_encoder(settings)
    card = _captioner_card(store, settings.captioner, sources)
    opened = FeatureStore.create(store) if sources or card.is_file else FeatureStore.open(store)
    outcome = Outcome()
    if card.is_file:
        if sources:
            raise UsageError("captions of a file need no videos", hint="leave --videos out")
        store_captions_of_files(opened, card, settings, outcome, overwrite=overwrite, quiet=quiet)
    elif card.loader:
        _caption_frames(
            opened, card, settings, sources, outcome, overwrite=overwrite, quiet=quiet, each=each
        )
    elif lacking := len(opened.ids()) - len(opened.having(f"captions/{card.name}")):
        log.warning("%d videos have no captions/%s", lacking, card.name)
    embed(opened, card.name, encoder, settings.name, outcome, overwrite=overwrite, quiet=quiet)
    outcome.skipped = [v for v in opened.ids() if v not in {*outcome.done, *outcome.failed}]
    return outcome


def load_encoder(settings: CaptionSettings) -> SentenceEncoder:
    """The sentence encoder that the settings name, on its device."""
    device = choose_device(names_of_devices(settings.device)[0])
    return create_encoder(settings.encoder, device=device, offline=settings.offline)


def _check(settings: CaptionSettings) -> None:
    """Raise UsageError for settings that cannot be, before anything is loaded."""
    find_encoder(settings.encoder)
    for name, value in (("stride", settings.stride), ("window", settings.window)):
        if value is not None and value % CLIP_FRAMES:
            raise UsageError(f"a {name} of {value} frames is no multiple of {CLIP_FRAMES}")
    if settings.name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", settings.name):
        raise UsageError(f"{settings.name!r} is no name", hint="use letters, digits, - and _")


def _captioner_card(
    store: str | Path, captioner: str | None, sources: list[Source]
) -> CaptionerCard:
    """The captioner asked for; else that of the captions that are stored; else `labels`."""
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
    name = stored.pop() if stored else "labels"
    if name in CAPTIONERS:
        return find_captioner(name)
    return CaptionerCard(name, "", "", window=0, n_frames=0)  # of a file: there is nothing to load


def _caption_frames(
    store: FeatureStore,
    card: CaptionerCard,
    settings: CaptionSettings,
    sources: list[Source],
    outcome: Outcome,
    *,
    overwrite: bool,
    quiet: bool,
    each: Each,
) -> None:
    """Caption the videos that have no captions of that captioner yet."""
    array = f"captions/{card.name}"
    stored = set() if overwrite else set(store.intact(array))
    sources = sources or _stored_sources(store, outcome)
    todo = [source for source in sources if source.id not in stored]
    known = {"window": settings.window or card.window, "stride": settings.stride}
    before = store.provenance(array) or known
    is_asked = settings.captioner is not None
    if not todo and (not is_asked or all(before.get(n) == value for n, value in known.items())):
        return  # without loading the captioner
    makers = load_captions(settings, card.name)
    if not overwrite:
        if not is_asked and stored and differences(makers[0].provenance, before):
            log.warning(
                "%d videos have no %s, which were made with other settings; name them, such as "
                "--captioner %s",
                len(todo),
                array,
                card.name,
            )
            return
        refuse_mix(store, array, makers[0].provenance, hint=HINT)
    runner = VideoRunner(
        store.backend.address,
        partial(load_captions, settings, card.name),
        {array: makers[0].provenance},
        decoding_of(settings),
        overwrite=overwrite,
        joins=True,
        makers=makers,
    )
    run_videos(runner, todo, outcome, verb="caption", quiet=quiet, each=each)


def _stored_sources(store: FeatureStore, outcome: Outcome) -> list[Source]:
    """The files of all stored videos. Those that cannot be found are noted as failed."""

    def find(video: str) -> Path | VideoError:
        try:
            path = store.source_of(store.record(video))
        except VideoError as error:
            return error
        if path.is_absolute() or path.exists():
            return path
        return VideoError(
            "unreadable",
            f"{path} is relative to the folder in which the video was extracted, and not found",
            hint="run the command there, or name the videos",
        )

    ids, found = store.ids(), []
    for video, path in zip(ids, store.each(find, ids), strict=True):
        if isinstance(path, VideoError):
            _note(store, outcome, video, path)
        else:
            found.append(Source(video, path))
    return found


def _note(store: FeatureStore, outcome: Outcome, video: str, error: VideoError) -> None:
    """Note that a stored video failed."""
    outcome.failed[video] = error
    Failures(store.backend).note(Source(video, Path(video)), error)


def decoding_of(settings: CaptionSettings) -> Decoding:
    """How the settings decode videos."""
    return Decoding(
        workers=settings.workers,
        limits=Limits(max_pixels=settings.max_pixels),
        time_limit_s=settings.time_limit,
        accept_truncated=True,  # a stored video was accepted; `Pipeline` judges the others
    )


def embed(
    store: FeatureStore,
    captioner: str,
    encoder: SentenceEncoder,
    name: str | None,
    outcome: Outcome,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Embed stored captions into `text/<name>`, by default the encoder's name.

    Videos are claimed as they are for captions, so that two runs share them.
    """
    source, array = f"captions/{captioner}", f"text/{name or encoder.name}"
    made = store.provenance(source)
    if made is None:
        return
    kept = {name: value for name, value in made.items() if name not in INFORMATION}
    provenance = {**encoder.provenance, "captions": kept, "vad": VERSION}
    if not overwrite:
        refuse_mix(store, array, provenance, hint=HINT)
    stored = set() if overwrite else set(store.intact(array))
    todo = [video for video in store.having(source) if video not in stored]
    done = set(outcome.done)
    embedder = _Embedder(store, encoder, array, provenance)
    with (
        meter("embed", len(todo), unit="videos", quiet=quiet) as progress,
        store.backend.claims() as claims,
    ):
        while todo:
            others: list[str] = []  # being done by another run now
            every = store.each(partial(_captions, store, source), todo)
            for video, captions in zip(todo, every, strict=True):
                if isinstance(captions, VideoError):
                    _note(store, outcome, video, captions)
                    progress.advance()
                elif not claims.take(video):
                    others.append(video)
                elif not overwrite and store.is_intact(video, array):  # another run did it
                    claims.release(video)
                    progress.advance()
                else:
                    embedder.add(video, captions)
                if embedder.is_full or (video == todo[-1] and embedder.waiting):
                    for ended in embedder.store_waiting():
                        claims.release(ended)
                        progress.advance()
                        done.add(ended)
            todo = others
            if todo:
                time.sleep(claims.poll_s)
    outcome.done = sorted(done)


def _captions(store: FeatureStore, array: str, video: str) -> list[str] | VideoError:
    """The captions of a video, or what is damaged of it."""
    try:
        captions: list[str] = store.read(video, array).tolist()
        store.times(video)  # they are written again with the embeddings
        return captions
    except VideoError as error:
        return error


class _Embedder:
    """Embeds the captions of several videos together, every distinct sentence once."""

    def __init__(
        self,
        store: FeatureStore,
        encoder: SentenceEncoder,
        array: str,
        provenance: Mapping[str, Any],
    ) -> None:
        self._store, self._encoder = store, encoder
        self._array, self._provenance = array, provenance
        self._known: dict[str, NDArray[np.float32]] = {}  # sentence -> embedding [dim]
        self._new: set[str] = set()  # sentences that wait
        self.waiting: dict[str, list[str]] = {}  # captions by video

    @property
    def is_full(self) -> bool:
        """Whether enough sentences wait to embed them."""
        return len(self._new) >= SENTENCES_AT_ONCE

    def add(self, video: str, captions: list[str]) -> None:
        """Let a video wait. captions: one for each of its snippets."""
        self.waiting[video] = captions
        self._new |= set(captions) - self._known.keys()

    def store_waiting(self) -> list[str]:
        """Embed what waits, and store it. Returns the videos."""
        unique = sorted(self._new)  # in one order, so that every run computes alike
        self._known |= zip(unique, self._encoder(unique) if unique else (), strict=True)
        for _ in self._store.each(self._store_video, self.waiting.items()):
            pass
        videos = list(self.waiting)
        self.waiting, self._new = {}, set()
        if len(self._known) >= KEPT:
            self._known = {}
        return videos

    def _store_video(self, captions: tuple[str, list[str]]) -> None:
        video, texts = captions
        draft = self._store.draft(video)
        draft.append(self._array, np.stack([self._known[text] for text in texts]))
        record, times = self._store.record(video), self._store.times(video)
        draft.commit(record, times, {self._array: self._provenance})
