"""The captioning run: a caption for every snippet of a store, and an embedding of every caption.

    frames, or a file ──captioner──> captions/<captioner> [snippets] utf-8
    captions ──encoder──> text/<encoder> [snippets, dim] float32

Row i of both arrays belongs to snippet i. Each step skips what is stored. So with another encoder,
stored captions are embedded again without decoding the videos.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device, names_of_devices
from vad.errors import UsageError, VideoError
from vad.grid import CLIP_FRAMES, ClipGrid, Sampling
from vad.store import FeatureStore, Provenance, differences
from vad.terminal import meter
from vad.version import VERSION

from ..captioners import CAPTIONERS, CaptionerCard, find_captioner
from ..captioners.settings import CaptionSettings
from ..decoders.video import Limits
from ..outcome import Failures, Outcome
from ..records import grid_of_store, refuse_mix
from ..runner import Decoding, Executor, VideoRunner, in_this_process, run_videos
from ..sentences import create_encoder, find_encoder
from ..sentences.encoder import SentenceEncoder
from ..sources import Source, find_sources
from .from_files import store_captions_of_files
from .maker import load_captions

log = logging.getLogger("vad")

SENTENCES_AT_ONCE = 2_000  # new sentences after which the waiting videos are embedded and stored
KEPT = 50_000  # embeddings kept for sentences that recur: 150 MB of 768-d
HINT = "use the same settings, another --name or --store, or --overwrite"


def caption(
    store: str | Path,
    settings: CaptionSettings,
    *,
    videos: Iterable[str | Path] | str | Path = (),
    overwrite: bool = False,
    quiet: bool = False,
    executor: Executor = in_this_process,
) -> Outcome:
    """Caption the videos of a store and embed the captions. Stored captions and embeddings are
    skipped, unless `overwrite` is set.

    videos: files to caption, whether the store holds them or not; by default all videos of the
    store. executor: processes the videos, in this process or elsewhere. Raises UsageError for
    wrong input. A faulty video is listed in `Outcome.failed` and in `failures.jsonl`, and the run
    continues.
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
            opened,
            card,
            settings,
            sources,
            outcome,
            overwrite=overwrite,
            quiet=quiet,
            executor=executor,
        )
    elif lacking := len(opened.ids()) - len(opened.having(f"captions/{card.name}")):
        log.warning("%d videos have no captions/%s", lacking, card.name)
    embed(opened, card.name, encoder, settings.name, outcome, overwrite=overwrite, quiet=quiet)
    outcome.skipped = [v for v in opened.ids() if v not in {*outcome.done, *outcome.failed}]
    return outcome


def load_encoder(settings: CaptionSettings) -> SentenceEncoder:
    """Load the sentence encoder that the settings name, on the device that they name."""
    device = choose_device(names_of_devices(settings.device)[0])
    return create_encoder(settings.encoder, device=device, offline=settings.offline)


def _check(settings: CaptionSettings) -> None:
    """Raise UsageError for impossible settings before any model is loaded."""
    find_encoder(settings.encoder)
    for name, value in (("stride", settings.stride), ("window", settings.window)):
        if value is not None and value % CLIP_FRAMES:
            raise UsageError(f"a {name} of {value} frames is no multiple of {CLIP_FRAMES}")
    if settings.name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", settings.name):
        raise UsageError(
            f"{settings.name[:40]!r} is no name", hint="use up to 100 letters, digits, - and _"
        )


def _captioner_card(
    store: str | Path, captioner: str | None, sources: list[Source]
) -> CaptionerCard:
    """Return the card of the captioner asked for; without one, of the captioner whose captions the
    store holds; else of `labels`. Raises UsageError if the store holds captions of several.
    """
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
    return CaptionerCard(name, "", "", window=0, n_frames=0)  # captions of a file: load nothing


def _caption_frames(
    store: FeatureStore,
    card: CaptionerCard,
    settings: CaptionSettings,
    sources: list[Source],
    outcome: Outcome,
    *,
    overwrite: bool,
    quiet: bool,
    executor: Executor,
) -> None:
    """Caption the videos that have no captions of this captioner yet."""
    array = f"captions/{card.name}"
    stored = set() if overwrite else set(store.intact(array))
    sources = sources or _stored_sources(store, outcome)
    todo = [source for source in sources if source.id not in stored]
    before = store.provenance(array)
    is_asked = settings.captioner is not None
    sampling = (grid_of_store(store) or ClipGrid()).sampling
    asked = (settings.window or card.window, settings.stride or sampling.stride)
    if not todo and (not is_asked or before is None or (before.window, before.stride) == asked):
        return  # nothing to do, so the captioner is not loaded
    makers = load_captions(settings, card.name, sampling)
    if not overwrite:
        if not is_asked and stored and before and differences(makers[0].provenance, before):
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
        partial(load_captions, settings, card.name, sampling),
        {array: makers[0].provenance},
        decoding_of(settings, sampling),
        overwrite=overwrite,
        joins=True,
        makers=makers,
    )
    run_videos(runner, todo, outcome, verb="caption", quiet=quiet, executor=executor)


def _stored_sources(store: FeatureStore, outcome: Outcome) -> list[Source]:
    """Return the files of all stored videos. Videos whose file cannot be found are added to the
    outcome as failed.
    """

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
    for video, path in zip(ids, store.map(find, ids), strict=True):
        if isinstance(path, VideoError):
            _note(store, outcome, video, path)
        else:
            found.append(Source(video, path))
    return found


def _note(store: FeatureStore, outcome: Outcome, video: str, error: VideoError) -> None:
    """Add a stored video to the outcome and to the failures file as failed."""
    outcome.failed[video] = error
    Failures(store.backend).note(Source(video, Path(video)), error)


def decoding_of(settings: CaptionSettings, sampling: Sampling) -> Decoding:
    """Return the decoding options that these caption settings ask for, for videos of this
    sampling.
    """
    return Decoding(
        workers=settings.workers,
        grid=ClipGrid(sampling=sampling),
        limits=Limits(max_pixels=settings.max_pixels),
        time_limit_s=settings.time_limit,
        accept_truncated=True,  # `Pipeline` rejects truncated new videos
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
    """Embed the stored captions of a captioner into `text/<name>`; `name` defaults to the encoder's
    name.

    Each video is claimed (locked) while it is embedded, so that two runs divide the work.
    """
    source, array = f"captions/{captioner}", f"text/{name or encoder.name}"
    made = store.provenance(source)
    if made is None:
        return
    provenance = Provenance.of({**encoder.provenance, "captions": made.settings, "vad": VERSION})
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
            others: list[str] = []  # videos that another run has claimed
            every = store.map(partial(_captions, store, source), todo)
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
    """Return the captions of a video, or the VideoError that describes what is damaged in the
    store.
    """
    try:
        captions: list[str] = store.read(video, array).tolist()
        store.times(video)  # also read to check it: the commit needs it
        return captions
    except VideoError as error:
        return error


class _Embedder:
    """Embeds the captions of several videos together, each distinct sentence only once."""

    def __init__(
        self,
        store: FeatureStore,
        encoder: SentenceEncoder,
        array: str,
        provenance: Provenance,
    ) -> None:
        self._store, self._encoder = store, encoder
        self._array, self._provenance = array, provenance
        self._known: dict[str, NDArray[np.float32]] = {}  # sentence -> embedding [dim]
        self._new: set[str] = set()  # sentences to embed
        self.waiting: dict[str, list[str]] = {}  # by video: the captions to embed

    @property
    def is_full(self) -> bool:
        """True if enough new sentences wait to be embedded in one go."""
        return len(self._new) >= SENTENCES_AT_ONCE

    def add(self, video: str, captions: list[str]) -> None:
        """Add a video to those that wait. captions: one per snippet."""
        self.waiting[video] = captions
        self._new |= set(captions) - self._known.keys()

    def store_waiting(self) -> list[str]:
        """Embed the captions of all waiting videos and store them. Returns the ids of these
        videos.
        """
        unique = sorted(self._new)  # a fixed order, so that every run gets the same batches
        self._known |= zip(unique, self._encoder(unique) if unique else (), strict=True)
        for _ in self._store.map(self._store_video, self.waiting.items()):
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
