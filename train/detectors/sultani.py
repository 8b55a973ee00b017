"""Ranking by multiple instances, the first of these detectors (Sultani et al., CVPR 2018).

The highest snippet score of an abnormal video shall exceed that of a normal one. The network was
published for 32 segments of C3D features, normalised to length 1. Scores and loss equal the
original ones (github.com/WaqasSultani/AnomalyDetectionCVPR2018, 8aa957c) to 1e-4; the weights have
the names of github.com/ekosman/AnomalyDetectionCVPR2018-Pytorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..losses import Terms, abnormal_regularity, pairs_hinge, weighted
from ..selection import magnitude, top_k
from .interface import Batch, Detector, Form, Output
from .settings import SultaniSettings


class Sultani(Detector):
    """Three linear layers, dim -> 512 -> 32 -> 1, then the mean over crops.

    The second layer has no ReLU.
    """

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
        """Score every snippet separately."""
        hidden = self.dropout(torch.relu(self.fc1(batch.visual)))
        hidden = self.dropout(self.fc2(hidden))
        scores = torch.sigmoid(self.fc3(hidden)).squeeze(-1).mean(1)
        return Output(batch.blank(scores), magnitude(batch.visual), batch.lengths)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return a ranking term, smoothness and sparsity of abnormal videos, and "decay".

        The ranking compares the highest scores of videos. In the form "paper" it is a mean over all
        pairs of an abnormal and a normal video. The released code instead sums over the abnormal
        videos: the means over the normal ones, and likewise smoothness and sparsity. "decay" is the
        sum of the squared weights of the layers. labels is float [videos]; every term is a scalar.
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
