"""BN-WVAD: batch normalisation as a judge of anomaly (Zhou et al., 2023, arXiv 2311.15367).

Most snippets of a batch are normal, so the running statistics of a batch normalisation describe
normality, and the distance from them is a second, unlearnt score. Scores and loss equal those of
github.com/cool-xuan/BN-WVAD (4fa3a5d) to 1e-4.
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
    """How normal snippets are classified, in three steps with a normalisation after two of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(width, 32)
        self.bn1 = BatchNorm(32)
        self.conv2 = conv(32, 16)
        self.bn2 = BatchNorm(16)
        self.conv3 = conv(16, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x [rows, width, snippets] -> scores [rows, snippets], and for each normalisation the
        distances [rows, snippets] of what enters it from its running statistics."""
        first = self.conv1(x)
        second = self.conv2(torch.relu(self.bn1(first, mask)))
        last = self.conv3(torch.relu(self.bn2(second, mask)))
        return (
            torch.sigmoid(last)[:, 0],
            mahalanobis(first, self.bn1),
            mahalanobis(second, self.bn2),
        )


def mahalanobis(x: Tensor, norm: BatchNorm) -> Tensor:
    """Distance of x [rows, channels, snippets] from the running mean, in running deviations."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise InternalError("a normalisation of BN-WVAD has no running statistics")
    return ((x - mean[:, None]).square() / variance[:, None]).sum(1).sqrt()


class BNWVAD(Detector):
    """Embedding and transformer as UR-DMU's, and the head. A crop of a video is a sample.

    The anomaly of a snippet is the mean over crops of its distances times its score: without an
    upper bound. `scores` are anomaly / (1 + anomaly), in the same order and in [0, 1); the anomaly
    itself is in `parts`.
    """

    settings: BNWVADSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: BNWVADSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.embedding = Embedding(visual_dim, settings.width)
        self.selfatt = Transformer(settings.width, settings.dropout)
        self.normal_head = NormalHead(settings.width)

    def run(self, batch: Batch) -> Output:
        """Scores and both distances [videos, crops, snippets], and the anomaly."""
        mask = batch.mask
        x = self.selfatt(self.embedding(batch.channels(batch.visual), mask), mask)
        rows = self.normal_head(x.transpose(1, 2), mask)
        scores, first, second = (batch.unflatten(values) for values in rows)
        anomaly = batch.blank(((first + second) * scores).mean(1))
        parts = {"normal_scores": scores, "first": first, "second": second, "anomaly": anomaly}
        magnitudes = batch.blank(magnitude(batch.unflatten(x)))
        return Output(bounded(anomaly), magnitudes, batch.lengths, parts)

    def join_crops(self, outputs: Sequence[Output]) -> Tensor:
        """Scores [videos, snippets] of all crops: the mean of their anomalies, bounded after it."""
        return bounded(torch.stack([output.parts["anomaly"] for output in outputs]).mean(0))

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Small scores in normal videos, and for each normalisation a triplet. Both forms agree.

        The snippets farthest from the running statistics, in abnormal videos, shall be farther
        than the farthest ones in normal videos, by a margin.

        labels float [videos]; every term is a scalar.
        """
        scores = output.parts["normal_scores"]
        labels, lengths = (x.repeat_interleave(scores.shape[1]) for x in (labels, output.lengths))
        abnormal = labels > 0.5
        true = valid_snippets(lengths, scores.shape[2])
        lengths_of_scores = vector_norm(scores.flatten(0, 1) * true) * ~abnormal
        n_normal = (~abnormal).sum().clamp(min=1)  # without any the term is 0, and there is a loss
        terms: dict[str, Tensor | None] = {"normal": lengths_of_scores.sum() / n_normal}
        for name in ("first", "second"):
            distances = output.parts[name].flatten(0, 1)
            terms[name] = self._triplet(distances, lengths, abnormal)
        return weighted(terms, {"first": self.settings.first, "second": self.settings.second})

    def _triplet(self, distances: Tensor, lengths: Tensor, abnormal: Tensor) -> Tensor | None:
        """`max(0, 1 + normal - abnormal)` over the selected distances, paired one by one.

        Abnormal: the farthest share of every video, and the farthest share of all of them. Normal:
        as many, the farthest of every video first, then the second of every video, and so on.
        """
        if not (bool(abnormal.any()) and bool((~abnormal).any())):
            return None
        settings = self.settings
        distances = distances.masked_fill(~valid_snippets(lengths, distances.shape[1]), -1.0)
        far, normal = distances[abnormal], distances[~abnormal]  # padding comes last in both
        of_video = (settings.video_share * lengths[abnormal]).long()
        of_batch = max(1, int(settings.batch_share * int(lengths[abnormal].sum())))
        selected = rank(far, 1) < of_video[:, None]
        selected |= (rank(far.flatten(), 0) < of_batch).view_as(far)
        dealt = normal.sort(dim=1, descending=True).values.T.flatten()
        dealt = dealt[dealt >= 0]
        n = min(int(selected.sum()), len(dealt))
        return relu(1 + dealt[:n] - far[selected][:n]).mean()


def bounded(anomaly: Tensor) -> Tensor:
    """Anomalies from 0 upwards to scores in [0, 1), in the same order.

    anomaly [...] -> the same shape.
    """
    return anomaly / (1 + anomaly)


def rank(values: Tensor, dim: int) -> Tensor:
    """Place of every value among those along an axis, 0 for the largest.

    values [...] -> the same shape.
    """
    return values.argsort(dim=dim, descending=True).argsort(dim=dim)
