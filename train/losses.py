"""Loss terms of weakly supervised detection, each a pure function of tensors.

Scores are `[videos, snippets]` in [0, 1]; `lengths [videos]` are the numbers of snippets without
padding. Terms of the form "paper" are means over videos, so that their weight does not depend on
the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, relu

from .selection import valid_snippets, vector_norm

Terms = dict[str, Tensor]


def weighted(terms: Mapping[str, Tensor | None], weights: Mapping[str, float]) -> Terms:
    """Return the terms that are not None, and "total", their weighted sum.

    A term without an entry in `weights` has weight 1.
    """
    there = {name: term for name, term in terms.items() if term is not None}
    total = torch.stack([weights.get(name, 1.0) * term for name, term in there.items()]).sum()
    return {**there, "total": total}


def video_bce(video_scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of video scores [videos] against labels [videos]."""
    return binary_cross_entropy(video_scores, labels)


def pairs_hinge(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor | None:
    """Return `max(0, margin - (abnormal - normal))`, mean over all pairs of the two classes.

    abnormal is [n], normal [m]. Returns None if one of them is empty.
    """
    if not (len(abnormal) and len(normal)):
        return None
    return relu(margin - (abnormal[:, None] - normal[None, :])).mean()


def class_magnitude(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor:
    """Return the mean over all videos of `max(0, margin - f)` if abnormal and of `f` if normal.

    abnormal [n] and normal [m] are the magnitudes f. TEVAD's paper has `margin - f` without the
    maximum; here a magnitude beyond the margin lowers the loss no further.
    """
    return torch.cat([relu(margin - abnormal), normal]).mean()


def smoothness_sums(scores: Tensor, lengths: Tensor) -> Tensor:
    """Return the squared score differences between neighbouring snippets, summed per video:
    [videos].
    """
    steps = (scores[:, 1:] - scores[:, :-1]).square()
    return (steps * valid_snippets(lengths, scores.shape[1])[:, 1:]).sum(1)


def abnormal_regularity(
    scores: Tensor, lengths: Tensor, labels: Tensor
) -> dict[str, Tensor | None]:
    """Return smoothness and sparsity of the abnormal videos: an anomaly is continuous and short.

    "smoothness" is the sum of squared differences between neighbouring snippets, "sparsity" the sum
    of the scores. Both are summed within a video and averaged over the abnormal videos. They are
    None if the batch has no abnormal video. scores is [videos, snippets], lengths and labels are
    [videos].
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
    """Return smoothness and sparsity of the abnormal videos, as in RTFM's released code.

    The scores of the abnormal videos are concatenated. "smoothness" sums the squared differences,
    including those between the last snippet of a video and the first of the next; "sparsity" is the
    L2 norm of all these scores. scores is [videos, snippets], labels [videos].
    """
    scores = scores[labels > 0.5].flatten()
    return {"smoothness": scores.diff().square().sum(), "sparsity": vector_norm(scores)}


def group_mean(values: Tensor) -> Tensor | None:
    """Return the mean of values [n], or None if there are none."""
    return values.mean() if len(values) else None


def focal(video_scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean focal loss with gamma 2, `alpha (1 - p)² BCE` (Lin et al., ICCV 2017).

    alpha is 0.25 for abnormal videos and 0.75 for normal ones. video_scores [videos] are in [0, 1];
    labels are [videos].
    """
    p_abnormal = video_scores.clamp(1e-7, 1 - 1e-7)
    p = torch.where(labels > 0.5, p_abnormal, 1 - p_abnormal)
    alpha = torch.where(labels > 0.5, 0.25, 0.75)
    return (alpha * (1 - p).square() * -p.log()).mean()


def magnitude_squared(abnormal: Tensor, normal: Tensor, margin: float) -> Tensor:
    """Return the mean of `(|margin - |a|| + |n|)²` over videos and crops, as in RTFM's code.

    abnormal and normal are [videos, crops, dim]: the mean feature vectors a and n of the selected
    snippets, whose norms are taken afterwards. Abnormal and normal videos are paired by position,
    so both classes need the same number.
    """
    return ((margin - vector_norm(abnormal)).abs() + vector_norm(normal)).square().mean()
