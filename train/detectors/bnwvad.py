"""BN-WVAD: batch normalisation as a measure of anomaly (Zhou et al., 2023, arXiv 2311.15367).

Most snippets of a batch are normal, so the running statistics of a batch normalisation describe
normal snippets. The distance of a snippet from them is a second score, which needs no labels.
Scores and loss equal those of github.com/cool-xuan/BN-WVAD (4fa3a5d) to 1e-4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from vad.errors import InternalError

from ..blocks.attention import Embedding, Transformer
from ..blocks.layers import BatchNorm, conv
from ..losses import Terms, weighted
from ..selection import magnitude, valid_snippets, vector_norm
from .interface import Batch, Detector, Form, Output
from .settings import BNWVADSettings


class NormalHead(nn.Module):
    """A snippet classifier of three convolutions, with batch normalisation after the first two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(width, 32)
        self.bn1 = BatchNorm(32)
        self.conv2 = conv(32, 16)
        self.bn2 = BatchNorm(16)
        self.conv3 = conv(16, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, and the distances at both normalisations, each [rows, snippets].

        x is [rows, width, snippets]. A distance is that of the input of a batch normalisation from
        its running mean, see `mahalanobis`. mask, bool [rows, snippets], is false at padding.
        """
        first = self.conv1(x)
        second = self.conv2(torch.relu(self.bn1(first, mask)))
        last = self.conv3(torch.relu(self.bn2(second, mask)))
        return (
            torch.sigmoid(last)[:, 0],
            mahalanobis(first, self.bn1),
            mahalanobis(second, self.bn2),
        )


def mahalanobis(x: Tensor, norm: BatchNorm) -> Tensor:
    """Return the distances [rows, snippets] of x from the running mean, in running deviations.

    x is [rows, channels, snippets]. Raises InternalError if `norm` has no running statistics.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise InternalError("a normalisation of BN-WVAD has no running statistics")
    return ((x - mean[:, None]).square() / variance[:, None]).sum(1).sqrt()


class BNWVAD(Detector):
    """UR-DMU's embedding and transformer with BN-WVAD's head. Each crop of a video is a sample.

    The anomaly of a snippet is the mean over crops of (first + second distance) * score and has no
    upper bound. The output's `scores` are anomaly / (1 + anomaly), which is in [0, 1) and has the
    same order; the anomaly itself is in its `parts`.
    """

    settings: BNWVADSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: BNWVADSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.embedding = Embedding(visual_dim, settings.width)
        self.selfatt = Transformer(settings.width, settings.dropout)
        self.normal_head = NormalHead(settings.width)

    def run(self, batch: Batch) -> Output:
        """Compute scores and both distances, [videos, crops, snippets], and the anomaly."""
        mask = batch.mask
        x = self.selfatt(self.embedding(batch.channels(batch.visual), mask), mask)
        rows = self.normal_head(x.transpose(1, 2), mask)
        scores, first, second = (batch.unflatten(values) for values in rows)
        anomaly = batch.blank(((first + second) * scores).mean(1))
        parts = {"normal_scores": scores, "first": first, "second": second, "anomaly": anomaly}
        magnitudes = batch.blank(magnitude(batch.unflatten(x)))
        return Output(bounded(anomaly), magnitudes, batch.lengths, parts)

    def join_crops(self, outputs: Sequence[Output]) -> Tensor:
        """Average the unbounded anomaly values of the crops to a, and return the scores
        a / (1 + a), [videos, snippets].
        """
        return bounded(torch.stack([output.parts["anomaly"] for output in outputs]).mean(0))

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return a term for small scores in normal videos, and a triplet term per normalisation.

        The triplet terms ask that the snippets of abnormal videos that are farthest from the
        running statistics are farther, by a margin, than the farthest ones of normal videos. Both
        forms of the loss are the same. labels is float [videos]; every term is a scalar.
        """
        scores = output.parts["normal_scores"]
        labels, lengths = (x.repeat_interleave(scores.shape[1]) for x in (labels, output.lengths))
        abnormal = labels > 0.5
        true = valid_snippets(lengths, scores.shape[2])
        lengths_of_scores = vector_norm(scores.flatten(0, 1) * true) * ~abnormal
        # avoid a division by 0; without normal rows the term is 0
        n_normal = (~abnormal).sum().clamp(min=1)
        terms: dict[str, Tensor | None] = {"normal": lengths_of_scores.sum() / n_normal}
        for name in ("first", "second"):
            distances = output.parts[name].flatten(0, 1)
            terms[name] = self._triplet(distances, lengths, abnormal)
        return weighted(terms, {"first": self.settings.first, "second": self.settings.second})

    def _triplet(self, distances: Tensor, lengths: Tensor, abnormal: Tensor) -> Tensor | None:
        """Return the mean of `max(0, 1 + normal - abnormal)` over pairs of selected distances.

        distances is [rows, snippets], where a row is one crop of one video; lengths and abnormal
        are [rows]. In abnormal rows the farthest share of every row is selected, and the farthest
        share of all their snippets. As many distances are selected in normal rows: the largest of
        every row, then the second largest of every row, and so on. Returns None if one of the
        classes is missing.
        """
        if not (bool(abnormal.any()) and bool((~abnormal).any())):
            return None
        settings = self.settings
        distances = distances.masked_fill(~valid_snippets(lengths, distances.shape[1]), -1.0)
        # padding, at -1, is the smallest in both
        far, normal = distances[abnormal], distances[~abnormal]
        of_video = (settings.video_share * lengths[abnormal]).long()
        of_batch = max(1, int(settings.batch_share * int(lengths[abnormal].sum())))
        selected = rank(far, 1) < of_video[:, None]
        selected |= (rank(far.flatten(), 0) < of_batch).view_as(far)
        dealt = normal.sort(dim=1, descending=True).values.T.flatten()
        dealt = dealt[dealt >= 0]
        n = min(int(selected.sum()), len(dealt))
        return relu(1 + dealt[:n] - far[selected][:n]).mean()


def bounded(anomaly: Tensor) -> Tensor:
    """Map anomalies >= 0 to scores in [0, 1), in the same order.

    anomaly is [...]; the result has the same shape.
    """
    return anomaly / (1 + anomaly)


def rank(values: Tensor, dim: int) -> Tensor:
    """Return the rank of every value along an axis, 0 for the largest.

    values is [...]; the result has the same shape.
    """
    return values.argsort(dim=dim, descending=True).argsort(dim=dim)
