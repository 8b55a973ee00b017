"""Ranking by multiple instances, the first of these detectors (Sultani et al., CVPR 2018).

The best snippet of an abnormal video shall outscore the best of a normal one. It was published on
32 segments of C3D features, each of length 1. Scores and loss equal the original ones
(github.com/WaqasSultani/AnomalyDetectionCVPR2018, 8aa957c) to 1e-4; names of the weights are those
of github.com/ekosman/AnomalyDetectionCVPR2018-Pytorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..losses import Terms, abnormal_regularity, pairs_hinge, weighted
from ..selection import magnitude, top_k
from .interface import Batch, Detector, Form, Output
from .settings import SultaniSettings


class Sultani(Detector):
    """4096 -> 512 -> 32 -> 1, mean over crops. The second layer is linear, without a ReLU."""

    settings: SultaniSettings
    published_batch = "any"

    def __init__(self, visual_dim: int, text_dim: int | None, settings: SultaniSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.fc1 = nn.Linear(visual_dim, 512)
        self.fc2 = nn.Linear(512, 32)
        self.fc3 = nn.Linear(32, 1)
        self.dropout = nn.Dropout(settings.dropout)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def run(self, batch: Batch) -> Output:
        """Scores of every snippet by itself."""
        hidden = self.dropout(torch.relu(self.fc1(batch.visual)))
        hidden = self.dropout(self.fc2(hidden))
        scores = torch.sigmoid(self.fc3(hidden)).squeeze(-1).mean(1)
        return Output(batch.blank(scores), magnitude(batch.visual), batch.lengths)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Ranking of highest scores, smoothness and sparsity of abnormal videos, small weights.

        The ranking is a mean over all pairs in the paper's form. The released code adds up the
        abnormal videos: the sum over them of the mean over normal ones, and the sums of their
        smoothness and sparsity. "decay" is the sum of the squared weights of the layers.

        labels float [videos]; every term is a scalar.
        """
        settings = self.settings
        peaks = top_k(output.scores, 1, output.lengths).mean(output.scores)
        abnormal = labels > 0.5
        layers = (self.fc1, self.fc2, self.fc3)
        decay = torch.stack([layer.weight.square().sum() for layer in layers]).sum()
        terms = {
            "ranking": pairs_hinge(peaks[abnormal], peaks[~abnormal], settings.margin),
            **abnormal_regularity(output.scores, output.lengths, labels),
        }
        if form == "published":
            terms = {name: x if x is None else x * abnormal.sum() for name, x in terms.items()}
        weights = {
            "smoothness": settings.smooth,
            "sparsity": settings.sparse,
            "decay": settings.decay,
        }
        return weighted({**terms, "decay": decay}, weights)
