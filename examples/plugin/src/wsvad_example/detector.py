"""One linear layer a snippet. The score of a video is a weighted mean, high scores weigh more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vad.stages.train.detectors.interface import Batch, Detector, Form, Output
from vad.stages.train.losses import video_bce
from vad.stages.train.selection import magnitude

from . import SoftMaxSettings


class SoftMax(Detector):
    """A linear layer, dim -> 1, on every snippet of every crop; scores are means over crops."""

    settings: SoftMaxSettings
    published_batch = "any"

    def __init__(self, visual_dim: int, text_dim: int | None, settings: SoftMaxSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.score = nn.Linear(visual_dim, 1)

    def run(self, batch: Batch) -> Output:
        """Score every snippet, from batch.visual [videos, crops, snippets, dim]."""
        scores = torch.sigmoid(self.score(batch.visual)).squeeze(-1).mean(1)
        return Output(batch.blank(scores), magnitude(batch.visual), batch.lengths)

    def terms(self, output: Output, labels: Tensor, form: Form) -> dict[str, Tensor]:
        """Return the cross-entropy of the videos' scores; labels is float [videos]."""
        snippets = torch.arange(output.scores.shape[1], device=labels.device)
        is_padding = snippets >= output.lengths[:, None]
        logits = (self.settings.sharpness * output.scores).masked_fill(is_padding, -torch.inf)
        of_videos = (logits.softmax(1) * output.scores).sum(1)
        loss = video_bce(of_videos, labels)
        return {"classification": loss, "total": loss}
