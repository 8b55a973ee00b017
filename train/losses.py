"""Loss terms of weakly supervised detection, each a pure function of tensors.

Scores are `[videos, snippets]` in [0, 1]; `lengths [videos]` says how many are true. Terms in the
sound form are means over videos, so that their weight does not change with the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, relu

from .selection import valid_snippets

Terms = dict[str, Tensor]


def weighted(terms: Mapping[str, Tensor | None], weights: Mapping[str, float]) -> Terms:
    """The terms that exist, and "total": their sum, each times its weight (1 if none is given)."""
    there = {name: term for name, term in terms.items() if term is not None}
    total = torch.stack([weights.get(name, 1.0) * term for name, term in there.items()]).sum()
    return {**there, "total": total}


def video_bce(video_scores: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of video scores [videos] against labels [videos], mean."""
    return binary_cross_entropy(video_scores, labels)


def pairs_hinge(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor | None:
    """`max(0, margin - (abnormal - normal))`, mean over all pairs of the two classes.

    abnormal [n], normal [m]; None where a class is missing.
    """
    if not (len(abnormal) and len(normal)):
        return None
    return relu(margin - (abnormal[:, None] - normal[None, :])).mean()


def smoothness(scores: Tensor, lengths: Tensor) -> Tensor | None:
    """Squared steps from snippet to snippet, summed within each video, mean over videos."""
    if not len(scores):
        return None
    steps = (scores[:, 1:] - scores[:, :-1]).square()
    return (steps * valid_snippets(lengths, scores.shape[1])[:, 1:]).sum(1).mean()


def sparsity(scores: Tensor, lengths: Tensor) -> Tensor | None:
    """Scores summed within each video, mean over videos: an anomaly is short."""
    if not len(scores):
        return None
    return (scores * valid_snippets(lengths, scores.shape[1])).sum(1).mean()


def smoothness_flattened(scores: Tensor) -> Tensor:
    """As released with RTFM: squared steps over the videos laid end to end, joints included."""
    return scores.flatten().diff().square().sum()


def sparsity_flattened(scores: Tensor) -> Tensor:
    """As released with RTFM: the L2 norm of all scores of the batch together."""
    norm: Tensor = torch.linalg.vector_norm(scores)
    return norm


def magnitude_squared(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor:
    """As released with RTFM: `(|margin - |a|| + |n|)²`, entry by entry, mean.

    abnormal, normal [videos, crops, dim]: the means of the selected features. The norm is of the
    mean, not the mean of the norms, and a video is paired with the one at its place.
    """
    long: Tensor = torch.linalg.vector_norm(abnormal, dim=-1)
    short: Tensor = torch.linalg.vector_norm(normal, dim=-1)
    return ((margin - long).abs() + short).square().mean()
