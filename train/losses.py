"""Loss terms of weakly supervised detection, each a pure function of tensors.

Scores are `[videos, snippets]` in [0, 1]; `lengths [videos]` says how many are true. Terms in the
sound form are means over videos, so that their weight does not change with the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, relu

from .selection import valid_snippets, vector_norm

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


def class_magnitude(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor:
    """`max(0, margin - f)` of abnormal and `f` of normal videos, mean over all: f [n] and [m].

    TEVAD's text has `margin - f`; there is nothing to gain beyond the margin.
    """
    return torch.cat([relu(margin - abnormal), normal]).mean()


def smoothness_sums(scores: Tensor, lengths: Tensor) -> Tensor:
    """Squared steps from snippet to snippet, summed within each video: [videos]."""
    steps = (scores[:, 1:] - scores[:, :-1]).square()
    return (steps * valid_snippets(lengths, scores.shape[1])[:, 1:]).sum(1)


def abnormal_regularity(
    scores: Tensor, lengths: Tensor, labels: Tensor
) -> dict[str, Tensor | None]:
    """Smoothness and sparsity of the abnormal videos: an anomaly lasts, and it is short.

    "smoothness" are squared steps and "sparsity" scores, each summed within a video, mean over
    the abnormal videos; None without any.

    scores [videos, snippets], lengths [videos], labels [videos].
    """
    abnormal = labels > 0.5
    if not bool(abnormal.any()):
        return {"smoothness": None, "sparsity": None}
    scores, lengths = scores[abnormal], lengths[abnormal]
    true = valid_snippets(lengths, scores.shape[1])
    return {
        "smoothness": smoothness_sums(scores, lengths).mean(),
        "sparsity": (scores * true).sum(1).mean(),
    }


def flattened_regularity(scores: Tensor, labels: Tensor) -> Terms:
    """As released with RTFM: the abnormal videos laid end to end. "smoothness" are squared steps,
    those from one video to the next included; "sparsity" is the L2 norm of all scores together.

    scores [videos, snippets], labels [videos].
    """
    scores = scores[labels > 0.5].flatten()
    return {"smoothness": scores.diff().square().sum(), "sparsity": vector_norm(scores)}


def group_mean(values: Tensor) -> Tensor | None:
    """Mean of values [n]; None without any."""
    return values.mean() if len(values) else None


def focal(video_scores: Tensor, labels: Tensor) -> Tensor:
    """Focal loss, gamma 2: `alpha (1 - p)² BCE`, mean; alpha is 0.25 for abnormal videos and 0.75
    for normal ones (Lin et al., ICCV 2017).

    video_scores [videos] in [0, 1], labels [videos].
    """
    p_abnormal = video_scores.clamp(1e-7, 1 - 1e-7)
    p = torch.where(labels > 0.5, p_abnormal, 1 - p_abnormal)
    alpha = torch.where(labels > 0.5, 0.25, 0.75)
    return (alpha * (1 - p).square() * -p.log()).mean()


def magnitude_squared(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor:
    """As released with RTFM: `(|margin - |a|| + |n|)²`, entry by entry, mean.

    abnormal, normal [videos, crops, dim]: the means of the selected features. The norm is of the
    mean, not the mean of the norms, and a video is paired with the one at its place.
    """
    return ((margin - vector_norm(abnormal)).abs() + vector_norm(normal)).square().mean()
