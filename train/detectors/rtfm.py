"""RTFM: robust temporal feature magnitude learning (Tian et al., ICCV 2021, arXiv 2101.10030).

Training makes the feature vectors of abnormal snippets long and those of normal ones short. The
score of a video is the mean over its k longest snippets. Scores and loss equal those of
github.com/tianyu0207/RTFM (cf938f4) to 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from ..blocks.layers import score_head, xavier
from ..blocks.temporal import TemporalNetwork
from ..losses import (
    Terms,
    abnormal_regularity,
    flattened_regularity,
    magnitude_squared,
    pairs_hinge,
    video_bce,
    weighted,
)
from ..selection import magnitude, top_k
from .interface import Batch, Detector, Form, Output
from .settings import MagnitudeSettings, RTFMSettings

HIDDEN = (512, 128)  # widths of the hidden layers of the classifier


class RTFM(Detector):
    """The multi-scale temporal network, and a snippet classifier of one to three layers.

    The normalisation in the temporal network comes after the ReLU, unlike in the paper's figure,
    because the published weights require this.
    """

    settings: RTFMSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: RTFMSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.Aggregate = TemporalNetwork(visual_dim, settings.width)
        sizes = (visual_dim, *HIDDEN[len(HIDDEN) + 1 - settings.layers :], 1)
        self.head = [f"fc{4 - settings.layers + n}" for n in range(settings.layers)]
        for name, (inputs, outputs) in zip(self.head, pairwise(sizes), strict=True):
            self.add_module(name, nn.Linear(inputs, outputs))
        self.dropout = nn.Dropout(settings.dropout)
        xavier(self)
        if settings.layers == 1:
            nn.init.zeros_(self.get_parameter("fc3.weight"))  # all scores start at 0.5
        nn.init.constant_(self.Aggregate.conv_5.get_parameter("2.weight"), settings.gain)

    def run(self, batch: Batch) -> Output:
        """Compute features [videos, crops, snippets, dim] and scores."""
        changed = self.Aggregate(batch.channels(batch.visual), batch.mask)
        features = self.dropout(batch.unflatten(changed.transpose(1, 2)))
        layers = [self.get_submodule(name) for name in self.head]
        scores = score_head(features, layers, self.dropout).mean(1)
        return Output(
            batch.blank(scores), magnitude(features), batch.lengths, {"features": features}
        )

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return the terms of `feature_magnitude_terms`.

        labels is float [videos]; every term is a scalar.
        """
        settings, training = self.settings, self.training
        return feature_magnitude_terms(output, labels, form, settings, training=training)


# A function of the magnitudes of abnormal [n] and of normal videos [m], and of the margin.
MagnitudeTerm = Callable[[Tensor, Tensor, float], Tensor | None]


def feature_magnitude_terms(
    output: Output,
    labels: Tensor,
    form: Form,
    settings: MagnitudeSettings,
    *,
    training: bool,
    magnitude_term: MagnitudeTerm = pairs_hinge,
) -> Terms:
    """Return RTFM's loss: classification and magnitude of all videos, and smoothness and sparsity.

    The k snippets with the largest magnitude are selected in every video, or, if `settings.share`
    is set and the form is "paper", a share of its snippets. The score of a video is their mean
    score. In the form "paper" the magnitude of a video is the mean norm of the selected snippets;
    RTFM compares every abnormal video with every normal one by a hinge; smoothness and sparsity are
    those of each abnormal video. For the form "published", see `losses.magnitude_squared` and
    `flattened_regularity`. labels is float [videos]; every term is a scalar.
    """
    p_drop = settings.dropout if training else 0.0
    k: int | Tensor = settings.k
    if settings.share and form == "paper":
        k = (settings.share * output.lengths).ceil().long()
    selection = top_k(output.magnitudes, k, output.lengths, p_drop)
    abnormal = labels > 0.5
    terms: dict[str, Tensor | None] = {
        "classification": video_bce(selection.mean(output.scores), labels)
    }
    if form == "published":
        means = selection.mean(output.parts["features"])
        terms["magnitude"] = magnitude_squared(means[abnormal], means[~abnormal], settings.margin)
        terms |= flattened_regularity(output.scores, labels)
    else:
        norms = selection.mean(output.magnitudes)
        terms["magnitude"] = magnitude_term(norms[abnormal], norms[~abnormal], settings.margin)
        terms |= abnormal_regularity(output.scores, output.lengths, labels)
    weights = {
        "magnitude": settings.alpha,
        "smoothness": settings.smooth,
        "sparsity": settings.sparse,
    }
    return weighted(terms, weights)
