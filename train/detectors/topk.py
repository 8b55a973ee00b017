"""Plain top-k MIL, the baseline for all other detectors.

One linear layer scores each snippet; the score of a video is the mean of its k highest scores, and
is trained by cross-entropy. There is no temporal network, no magnitude and no further term. To
write a detector of your own, start from this file and `docs/detectors.md`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..losses import Terms, video_bce, weighted
from ..selection import magnitude, top_k
from .interface import Batch, Detector, Form, Output
from .settings import TopKSettings


class TopK(Detector):
    """One linear layer, dim -> 1, then the mean over crops. All scores start at 0.5."""

    settings: TopKSettings
    published_batch = "any"
    looks_around = False

    def __init__(self, visual_dim: int, text_dim: int | None, settings: TopKSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.score = nn.Linear(visual_dim, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def run(self, batch: Batch) -> Output:
        """Score every snippet separately."""
        scores = torch.sigmoid(self.score(batch.visual)).squeeze(-1).mean(1)
        return Output(batch.blank(scores), magnitude(batch.visual), batch.lengths)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return the classification term. Both forms of the loss are the same.

        labels is float [videos]; every term is a scalar.
        """
        share, k = self.settings.share, self.settings.k
        wanted = (output.lengths * share).ceil().long() if share else k
        selection = top_k(output.scores, wanted, output.lengths)
        return weighted({"classification": video_bce(selection.mean(output.scores), labels)}, {})
