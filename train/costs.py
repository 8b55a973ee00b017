"""What members cost in a stream, and which of them a core can compute for several cameras.

Costs are CPU seconds for one clip of 320x240 on one thread of an AVX-512 machine beside other work:

    decoding    `benchmarks/extract.py`
    features    `benchmarks/backbones.py`, of one view of the picture (of the default 0.11, and 0.02
                for flow at the scale of pixels); i3d: a tenth of the ten crops
                that `benchmarks/extract.py` measures
    detectors   `benchmarks/cameras.py`, for the score of the newest of 64 clips

`benchmarks/cameras.py` measures whole streams. Of several members that read features of one
backbone, the features count once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vad.errors import UsageError
from vad.grid import DENSE

from .candidates import Candidate

log = logging.getLogger("vad")

CAMERAS = 3  # that a core shall carry
FPS = 30  # of a camera
DECODING_S = 0.012
VIEW_S = {
    "efficientnet-lite0-parts": 0.13,
    "efficientnet-lite0": 0.16,
    "i3d-inception": 0.55,
    "i3d": 0.285,
}
DETECTOR_S = {
    "topk": 0.0001,
    "normality": 0.010,
    "normality near": 0.011,
    "sultani": 0.0012,
    "mil": 0.0013,
    "pel4vad": 0.0039,
    "bnwvad": 0.016,
    "urdmu": 0.015,
    "saa": 0.060,
    "mgfn": 0.045,
    "rtfm": 0.058,
    "vadclip": 0.55,
    "dsanet": 0.54,
}


def admit(candidates: Sequence[Candidate], *, are_named: bool) -> list[Candidate]:
    """Return the members with which a core carries `CAMERAS` streams; the cheap ones come first.

    The others are named in the log. Raises UsageError if none remains, or if one that the user
    named does not.
    """
    kept: list[Candidate] = []
    left: list[str] = []
    for candidate in sorted(candidates, key=lambda c: _seconds([c]) or 0.0):
        if why := _reason_against(candidate, kept):
            left.append(f"{candidate.name} ({why})")
        else:
            kept.append(candidate)
    if left and (are_named or not kept):
        raise UsageError(
            f"not for streams of {CAMERAS} cameras a core: {'; '.join(left)}",
            hint="name other members, or leave --for out"
            if are_named
            else "extract with --backbone efficientnet-lite0-parts, or leave --for out",
        )
    for words in left:
        log.info("not for streams of %d cameras a core: %s", CAMERAS, words)
    return [candidate for candidate in candidates if candidate in kept]


def tell(candidates: Sequence[Candidate]) -> None:
    """Log what each of the members costs in a stream, and all of them together."""
    log.info("what each member of the run costs on a live camera of %d frames a second:", FPS)
    for candidate in candidates:
        log.info("%s: %s", candidate.name, _in_words([candidate]))
    if len(candidates) > 1:
        log.info("all members: %s", _in_words(candidates))


def _in_words(candidates: Sequence[Candidate]) -> str:
    seconds = _seconds(candidates)
    if seconds is None:
        return "what it costs in a stream is not known"
    per_s = FPS / _stride(candidates)  # clips of a camera
    return f"{seconds:.3f} CPU seconds a clip, {1 / (seconds * per_s):.2g} cameras a core"


def _reason_against(candidate: Candidate, others: Sequence[Candidate]) -> str:
    """Say why a member cannot be added to others; "" if it can."""
    if candidate.stream.kind == "text":
        return "a stream has no captions"
    if _features_s(candidate) is None:
        return f"what {candidate.stream.name} costs is not known"
    if _detector_s(candidate) is None:
        return f"what {candidate.detector} costs is not known"
    allowed_s = _stride([candidate]) / (FPS * CAMERAS)
    for members, words in (([candidate], ""), ([*others, candidate], " with the other members")):
        if (seconds := _seconds(members)) is not None and seconds > allowed_s:
            return f"{seconds:.3f} CPU seconds a clip{words}, {allowed_s:.3f} are allowed"
    return ""


def _seconds(candidates: Sequence[Candidate]) -> float | None:
    """Return what a clip costs with these members: decoding, each backbone, each detector. None if
    a part of it is not known.
    """
    features = {
        candidate.stream.name.partition("/")[2]: _features_s(candidate) for candidate in candidates
    }
    parts = [*features.values(), *map(_detector_s, candidates)]
    known = [part for part in parts if part is not None]
    return DECODING_S + sum(known) if len(known) == len(parts) else None


def _features_s(candidate: Candidate) -> float | None:
    made = candidate.stream.provenance
    view_s = VIEW_S.get(made.backbone or "") if made else None
    if made is None or view_s is None:
        return None
    n_views = made.crops if isinstance(made.crops, int) else len(made.crops or ("whole",))
    return view_s * n_views


def _detector_s(candidate: Candidate) -> float | None:
    near = " near" if candidate.own.get("reach") is not None else ""
    return DETECTOR_S.get(candidate.detector + near)


def _stride(candidates: Sequence[Candidate]) -> int:
    """Return the frames from one clip to the next; all arrays of a store have the same."""
    made = candidates[0].stream.provenance
    return (made.sampling if made else DENSE).stride
