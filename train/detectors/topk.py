"""Plain top-k MIL: what every other detector is measured against.

One linear layer scores a snippet, the mean of the k highest scores speaks for the video, and that
is trained by cross-entropy. No temporal network, no magnitude, no further term. Start here to write
a detector of your own: `docs/detectors.md`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..losses import Terms, video_bce, weighted
from ..selection import magnitude, top_k
from .interface import Batch, Detector, Form, Output
from .settings import TopKSettings


class TopK(Detector):
    """dim -> 1, mean over crops. It starts at 0.5 for every snippet."""

    settings: TopKSettings
    published_batch = "any"

    def __init__(self, visual_dim: int, text_dim: int | None, settings: TopKSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.score = nn.Linear(visual_dim, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def run(self, batch: Batch) -> Output:
        """Scores of every snippet by itself."""
        scores = torch.sigmoid(self.score(batch.visual)).squeeze(-1).mean(1)
        return Output(batch.blank(scores), magnitude(batch.visual), batch.lengths)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Classification of the videos. Both forms are the same.

        labels float [videos]; every term is a scalar.
        """
        selection = top_k(output.scores, self.settings.k, output.lengths)
        return weighted({"classification": video_bce(selection.mean(output.scores), labels)}, {})
