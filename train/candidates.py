"""Which members a run can have: a detector, and the columns of a stored array that it reads.

A candidate is named as the option `--member` takes it:

    topk:A              a detector on a block of columns that the provenance of an array names
    rtfm:i3d            ... on the array visual/i3d
    normality:places    ... on the only array of a kind
    normality:places near   ... compared with the same cell and its neighbours alone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from vad.config import build
from vad.errors import UsageError
from vad.store import FeatureStore

from .card import KINDS, Stream
from .detectors import find_row

# Settings of `topk` for a few dozen videos: trained until it no longer changes, on a fifth of the
# snippets of each video.
TOPK = {"share": 0.2}
TOPK_TRAINING = {"lr": 0.05, "epochs": 100}
# Principal components a training video. Features that a network made for whole clips overfit with
# more: they tell one video from another better than one moment from another.
OF_BLOCKS, OF_CLIPS = 2, 1
NEAR = {"reach": 1}  # of the second `normality`: a cell and its neighbours


@dataclass(frozen=True)
class Candidate:
    """A possible member of a run."""

    name: str
    detector: str
    stream: Stream
    own: Mapping[str, object]  # settings of the detector, complete
    training: Mapping[str, object] = field(default_factory=dict)  # settings for small sets
    components_a_video: int = OF_BLOCKS  # principal components, if the settings name none


def default_candidates(store: FeatureStore, video: str) -> list[Candidate]:
    """Return the candidates that suit the arrays of a store.

    video: one of the store, whose arrays the others have, too. `topk` on every block of a visual
    array (on all columns of an array without blocks) and on every text array; `normality` on
    places, anywhere and near the same place.
    """
    found = []
    for stream in _streams(store, video):
        kind, _, name = stream.name.partition("/")
        if kind == "places":
            found.append(_candidate("normality:places", "normality", stream, {}))
            found.append(_candidate("normality:places near", "normality", stream, NEAR))
        else:
            blocks = _blocks(stream)
            named = blocks or {name: stream}
            found += [_candidate(f"topk:{n}", "topk", part, {}) for n, part in named.items()]
    return found


def find_candidates(store: FeatureStore, video: str, names: Sequence[str]) -> list[Candidate]:
    """Return the candidates of these names. Raises UsageError for an unknown or repeated name."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--member {name} is given twice", hint="give each member once")
    return [_find(store, video, name) for name in names]


def _find(store: FeatureStore, video: str, name: str) -> Candidate:
    detector, _, reads = name.partition(":")
    is_near = detector == "normality" and reads.endswith(" near")
    reads = reads.removesuffix(" near") if is_near else reads
    row = find_row(detector)
    if row.text or "dictionary" in row.arrays:
        raise UsageError(
            f"--member {name}: {detector} needs more than one array",
            hint=f"train it alone: --detector {detector}",
        )
    streams = _streams(store, video)
    blocks = {n: part for stream in streams for n, part in _blocks(stream).items()}
    arrays = {stream.name.partition("/")[2]: stream for stream in reversed(streams)}
    of_kind: dict[str, Stream] = {stream.kind: stream for stream in streams}
    known = {**of_kind, **arrays, **{s.name: s for s in streams}, **blocks}
    if reads not in known:
        raise UsageError(
            f"--member {name}: nothing stored is called {reads!r}",
            hint=f"write DETECTOR:WHAT, WHAT one of {', '.join(sorted(known))}",
        )
    return _candidate(name, detector, known[reads], NEAR if is_near else {})


def _candidate(name: str, detector: str, stream: Stream, own: Mapping[str, object]) -> Candidate:
    row = find_row(detector)
    if detector == "topk":
        return Candidate(
            name,
            detector,
            stream,
            asdict(build(row.settings, TOPK, own, where=name)),
            TOPK_TRAINING,
            OF_CLIPS if stream.kind == "visual" and not _blocks(stream) else OF_BLOCKS,
        )
    of_training = {n: v for n, v in row.small.items() if n in ("lr", "weight_decay", "clip")}
    rest = {n: v for n, v in row.small.items() if n not in of_training}
    return Candidate(
        name, detector, stream, asdict(build(row.settings, rest, own, where=name)), of_training
    )


def _streams(store: FeatureStore, video: str) -> list[Stream]:
    """Return the arrays of a video that detectors can read."""
    found = []
    for name in store.names(video):
        if name.split("/")[0] in KINDS:
            _, *crops, dim = store.info(video, name).shape
            provenance = store.provenance(name)
            found.append(Stream(name, dim, crops[0] if crops else None, provenance))
    return sorted(found, key=lambda stream: KINDS.index(stream.kind))


def _blocks(stream: Stream) -> dict[str, Stream]:
    blocks = stream.provenance.blocks if stream.provenance else None
    if stream.kind != "visual" or blocks is None:
        return {}
    return {name: replace(stream, columns=columns) for name, columns in blocks.items()}
