"""SAA: snippet anomalous attention (Fan et al., TCSVT 2024, arXiv 2309.16309).

The score of a snippet is the product of an attention, which tells how anomalous the snippet is, and
a class score. To make the classifier find more than the most obvious snippets, it is also trained
with those suppressed.

The network is that of github.com/Daniel00008/WS-VAD-mindspore (bd5eb50). The authors released
neither training code nor weights: the losses follow the paper's equations 4 and 9 to 16. The
docstring of `SAA.terms` lists the choices that these leave open.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..blocks.layers import Layers, conv, score_head, xavier
from ..blocks.temporal import TemporalNetwork
from ..losses import Terms, group_mean, smoothness_sums, video_bce, weighted
from ..selection import magnitude, snippet_mean, top_k, valid_snippets
from .interface import Batch, Detector, Form, Output
from .settings import SAASettings


class Attention(nn.Module):
    """The attention of a snippet, computed from the snippet and its neighbours.

    The last dropout acts on the logit: in training, a dropped snippet has attention 0.5.
    """

    def __init__(self, dim: int, p_drop: float) -> None:
        super().__init__()
        self.attention = Layers(
            conv(dim, 512, 3),
            nn.LeakyReLU(0.2),
            nn.Dropout(p_drop),
            conv(512, 512, 3),
            nn.LeakyReLU(0.2),
            conv(512, 1),
            nn.Dropout(p_drop),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention [rows, snippets] of x [rows, dim, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        values: Tensor = self.attention(x, mask)
        return values[:, 0]


class Classifier(nn.Module):
    """Three layers that score each snippet separately."""

    def __init__(self, dim: int, p_drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 512)
        self.fc2 = nn.Linear(512, 128)
        self.fc3 = nn.Linear(128, 1)
        self.dropout = nn.Dropout(p_drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores [...] for x [..., dim]."""
        return score_head(self.dropout(x), (self.fc1, self.fc2, self.fc3), self.dropout)


class SAA(Detector):
    """A temporal network, followed by an attention and a classifier."""

    settings: SAASettings
    published_batch = None

    def __init__(self, visual_dim: int, text_dim: int | None, settings: SAASettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.aggregate = TemporalNetwork(visual_dim, settings.width or max(1, visual_dim // 4))
        self.attn = Attention(visual_dim, settings.dropout)
        self.classifier = Classifier(visual_dim, settings.dropout)
        xavier(self)

    @property
    def n_steps(self) -> int:
        """Return the number of training steps so far.

        It is the counter of the first batch normalisation, and so is saved with the weights.
        """
        return int(self.get_buffer("aggregate.conv_1.2.num_batches_tracked"))

    def run(self, batch: Batch) -> Output:
        """Compute attention and class scores, [videos, crops, snippets]; their product is the
        score.
        """
        x = self.aggregate(batch.channels(batch.visual), batch.mask)
        attention = batch.unflatten(self.attn(x, batch.mask))
        features = batch.unflatten(x.transpose(1, 2))
        classes = self.classifier(features)
        scores = batch.blank((attention * classes).mean(1))
        parts = {"attention": attention, "classes": classes}
        return Output(scores, magnitude(features), batch.lengths, parts)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return four classification terms, and terms for attention, smoothness and sparsity.

        Each crop is a sample. It is classified by its class scores S, by A S with the attention A,
        and by both without the snippets whose attention exceeds the fraction `epsilon` of its
        range. The score of a video is the mean of its `snippets // 16 + 1` highest snippets. The
        attention is trained towards 0 in normal videos. In abnormal videos its target is S, and
        after `warmup` steps 1 where S > 0.5, else 0; no gradient flows through the target. Sums
        over time in the paper are means here, so that their weight does not depend on the number of
        snippets. Each term is a mean over its videos.

        labels is float [videos]; every term is a scalar.
        """
        settings = self.settings
        attention, classes = (output.parts[name].flatten(0, 1) for name in ("attention", "classes"))
        crops = len(attention) // len(labels)
        labels, lengths = (x.repeat_interleave(crops) for x in (labels, output.lengths))
        abnormal = labels > 0.5
        kept = attention <= self._threshold(attention, lengths)
        attended = attention * classes
        branches = {
            "scores": classes,
            "attended": attended,
            "suppressed": classes * kept,
            "suppressed_attended": attended * kept,
        }
        terms: dict[str, Tensor | None] = {}
        for name, values in branches.items():
            if getattr(settings, name):
                values = values * valid_snippets(lengths, values.shape[1])
                video_scores = top_k(values, lengths // 16 + 1, lengths).mean(values)
                terms[name] = video_bce(video_scores, labels)
        target = classes.detach()
        if self.n_steps > settings.warmup:
            target = (target > 0.5).to(target)
        off = snippet_mean((attention - target * abnormal[:, None]).square(), lengths)
        terms["guide_normal"], terms["guide_abnormal"] = (
            group_mean(off[group]) for group in (~abnormal, abnormal)
        )
        terms["norm"] = group_mean(snippet_mean(attention, lengths)[abnormal])
        both, twice = torch.cat([classes, attended]), lengths.repeat(2)
        terms["smoothness"] = 2 * (smoothness_sums(both, twice) / twice).mean()
        terms["sparsity"] = 2 * snippet_mean(both, twice).mean()
        weights = {
            "scores": settings.alpha,
            "attended": settings.alpha,
            "suppressed": 1 - settings.alpha,
            "suppressed_attended": 1 - settings.alpha,
            "guide_normal": settings.guide,
            "guide_abnormal": settings.guide,
            "norm": settings.gamma,
            "smoothness": settings.mu,
            "sparsity": settings.mu,
        }
        return weighted(terms, weights)

    def _threshold(self, attention: Tensor, lengths: Tensor) -> Tensor:
        """Return the attention above which a snippet is suppressed, [rows, 1].

        attention is [rows, snippets].
        """
        true = valid_snippets(lengths, attention.shape[1])
        low = attention.masked_fill(~true, torch.inf).amin(1, keepdim=True)
        high = attention.masked_fill(~true, -torch.inf).amax(1, keepdim=True)
        return (high - low) * self.settings.epsilon + low
