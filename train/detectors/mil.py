"""A small multiple-instance network over TimeSformer features, applied to each snippet separately.

Scores and loss equal those of github.com/Sabbirbracu/weakly-supervised-video-anomaly-detection
(80fedfc) to 1e-4. That code trained on copies of one vector per video with added noise; the bags
here have a vector for each snippet, for which the network is meant.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..blocks.layers import score_head
from ..losses import Terms, focal, pairs_hinge, smoothness_sums, weighted
from ..selection import magnitude, top_k
from .interface import Batch, Detector, Form, Output
from .settings import MILSettings


class MIL(Detector):
    """Three linear layers, dim -> 512 -> 128 -> 1, then the mean over crops."""

    settings: MILSettings
    published_batch = "any"

    def __init__(self, visual_dim: int, text_dim: int | None, settings: MILSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.fc1 = nn.Linear(visual_dim, 512)
        self.fc2 = nn.Linear(512, 128)
        self.fc3 = nn.Linear(128, 1)
        self.dropout = nn.Dropout(settings.dropout)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def run(self, batch: Batch) -> Output:
        """Score every snippet separately."""
        scores = score_head(batch.visual, (self.fc1, self.fc2, self.fc3), self.dropout).mean(1)
        return Output(batch.blank(scores), magnitude(batch.visual), batch.lengths)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return a ranking term over all pairs of videos, focal loss, and smoothness of all videos.

        The score of a video is the mean of its k highest snippet scores. Both forms of the loss are
        the same. labels is float [videos]; every term is a scalar.
        """
        scores, lengths = output.scores, output.lengths
        video_scores = top_k(scores, self.settings.k, lengths).mean(scores)
        abnormal = labels > 0.5
        n_steps = (lengths - 1).sum()
        terms = {
            "ranking": pairs_hinge(
                video_scores[abnormal], video_scores[~abnormal], self.settings.margin
            ),
            "focal": focal(video_scores, labels),
            "smoothness": smoothness_sums(scores, lengths).sum() / n_steps.clamp(min=1),
        }
        return weighted(terms, {"focal": self.settings.focal, "smoothness": self.settings.smooth})
