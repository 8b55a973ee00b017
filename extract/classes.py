"""Name the Kinetics classes that a stored video shows, from its features of `i3d-inception`.

The classifier of the network is linear, and lies in the file of weights that made the features. So
its chances follow from the stored features, without the video.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vad.errors import UsageError
from vad.store import FeatureStore

from .backbones.inception import read_classifier

ARRAY = "visual/i3d-inception"


@dataclass(frozen=True, slots=True)
class SeenClass:
    """A class of Kinetics-400 and how likely a video shows it."""

    name: str
    chance: float  # mean over the snippets
    highest: float  # of a snippet
    at_s: float  # start of that snippet, in seconds from the first frame


def classes_of(
    store: FeatureStore,
    video_id: str,
    *,
    n: int = 10,
    weights: str | None = None,
    offline: bool = False,
) -> list[SeenClass]:
    """Return the n most likely classes of a stored video, the most likely first.

    weights: a name or file; by default those that the features were made with. Raises UsageError if
    the video has no features of `i3d-inception`, or if the weights are others or have no
    classifier.
    """
    if ARRAY not in store.names(video_id):
        raise UsageError(
            f"{video_id!r} in {store.backend} has no {ARRAY}, which the classes are read from",
            hint="vad extract VIDEOS --backbone i3d-inception",
        )
    provenance = store.info(video_id, ARRAY).provenance
    made = provenance.weights if provenance else None
    source = weights or (made.name if made else None)
    if source is None:
        raise UsageError(f"{ARRAY} of {video_id!r} does not say its weights", hint="--weights FILE")
    kernel, bias, sha256 = read_classifier(source, offline=offline)
    if made and made.sha256 != sha256:
        raise UsageError(
            f"{ARRAY} of {video_id!r} was made with other weights than {source}",
            hint=f"--weights FILE, with the SHA-256 {made.sha256}",
        )
    features = torch.from_numpy(store.read(video_id, ARRAY)).float()
    chances = (features.mean(1) @ kernel.T + bias).softmax(1)  # [snippets, 400]
    highest, snippets = chances.max(0)
    times, names = store.times(video_id), _names()
    starts = store.record(video_id).grid.starts(len(times))
    return [
        SeenClass(
            name=names[index],
            chance=float(chances[:, index].mean()),
            highest=float(highest[index]),
            at_s=float(times[starts[int(snippets[index])]]),
        )
        for index in chances.mean(0).argsort(descending=True)[:n].tolist()
    ]


def _names() -> list[str]:
    from torchvision.models.video import R3D_18_Weights

    names: list[str] = R3D_18_Weights.KINETICS400_V1.meta["categories"]
    return names
