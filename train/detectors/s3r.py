"""S3R: self-supervised sparse representation (Wu et al., ECCV 2022).

Every snippet is reconstructed from a dictionary of normal videos. A channel gate weighs what the
video and its reconstruction share and how they differ, and both parts are classified. Scores and
loss equal those of github.com/louisYen/S3R (6835335) to 1e-4.

The dictionary is learnt before the detector is trained. Every normal training video gives one
vector, the mean over its crops and snippets. As in the released code, sparse codes of the
transposed matrix are learnt: a sample is one feature channel over all videos. The codes are the
dictionary; each channel consists of at most two atoms. UCF-Crime has 800 videos and 400 atoms,
ShanghaiTech 175 and 158. The published dictionary files are not reproduced exactly, because
scikit-learn counts its iterations differently since version 1.3.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from vad.errors import UsageError

from ..blocks.layers import Layers, blank, mean_over_time, xavier
from ..blocks.temporal import NonLocalNames, TemporalNetwork, conv_norm_relu
from ..losses import Terms, video_bce
from ..selection import magnitude
from .interface import Batch, Detector, Form, Output
from .rtfm import feature_magnitude_terms
from .settings import S3RSettings

NAMES = NonLocalNames("query", "key", "value", "alter")
ITERATIONS = 100  # mini-batches that the dictionary is learnt from, as in the released code
BATCH_CHANNELS = 32
NONZERO = 2  # most atoms per channel


class Recall(nn.Module):
    """S3R's en-Normal module: reconstruct every snippet by unscaled attention to dictionary
    atoms.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.query_embedding = nn.Linear(dim, width)
        self.cache_embedding = nn.Linear(dim, width)
        self.value_embedding = nn.Linear(dim, dim)

    def forward(self, x: Tensor, dictionary: Tensor) -> Tensor:
        """Return the reconstruction [..., dim] of x [..., dim] from the dictionary [atoms, dim]."""
        likeness = self.query_embedding(x) @ self.cache_embedding(dictionary).T
        rebuilt: Tensor = likeness.softmax(-1) @ self.value_embedding(dictionary)
        return rebuilt


class S3R(Detector):
    """Two parallel temporal networks: on the video, and on its reconstruction from the dictionary.

    These temporal networks use group normalisation before the ReLU, unlike RTFM's. The two
    projections are in the published weights, but the released code does not use them. The hidden
    width of the channel gate is a sixteenth of the feature width, as in the published network for
    2048.
    """

    settings: S3RSettings
    dictionary: Tensor | None

    def __init__(
        self,
        visual_dim: int,
        text_dim: int | None,
        settings: S3RSettings,
        dictionary: ArrayLike | None = None,
    ) -> None:
        super().__init__(visual_dim, text_dim, settings)
        dim, width, p_drop = visual_dim, settings.width, settings.dropout
        self.hold("dictionary", dictionary, dim)
        self.en_normal = nn.ModuleDict({"en_normal_module": Recall(dim, width)})
        gate = nn.Sequential(
            nn.Flatten(),
            nn.Linear(dim, max(1, dim // 16)),
            nn.ReLU(),
            nn.Linear(max(1, dim // 16), dim),
        )
        attention = nn.ModuleDict({"channel_gate": nn.ModuleDict({"mlp": gate})})
        self.de_normal = nn.ModuleDict({"channel_attention": attention})
        self.video_embedding = embedding(dim, width, p_drop)
        self.macro_embedding = embedding(dim, width, p_drop)
        self.video_projection = conv_norm_relu(dim, dim, kernel=3).requires_grad_(False)
        self.macro_projection = conv_norm_relu(dim, dim, kernel=3).requires_grad_(False)
        hidden = settings.hidden or max(1, dim // 4)
        self.video_classifier = classifier(dim, hidden, p_drop)
        self.macro_classifier = nn.ModuleDict({"mlp": classifier(dim, hidden, p_drop)})
        xavier(self)

    def run(self, batch: Batch) -> Output:
        """Compute features [videos, crops, snippets, dim], scores, and a score of the normal part.

        Raises UsageError if the detector has no dictionary.
        """
        if self.dictionary is None:
            raise UsageError(
                "S3R needs its dictionary of normal videos",
                hint="give arrays={'dictionary': array [atoms, dim]}, as trained with",
            )
        recall = self.en_normal.get_submodule("en_normal_module")
        gate = self.de_normal.get_submodule("channel_attention.channel_gate.mlp")
        rows = batch.visual.flatten(0, 1)
        video = self.video_embedding(rows.transpose(1, 2), batch.mask)
        macro = recall(rows, self.dictionary).transpose(1, 2)
        macro = self.macro_embedding(blank(macro, batch.mask), batch.mask)
        share = torch.sigmoid(gate(mean_over_time(video - macro, batch.mask)))[..., None]
        features = batch.unflatten((video * share).transpose(1, 2))
        normal = mean_over_time(macro * (1 - share), batch.mask)
        scores = self.video_classifier(features).squeeze(-1).mean(1)
        normal_scores = batch.unflatten(self.macro_classifier["mlp"](normal).squeeze(-1)).mean(1)
        parts = {"features": features, "normal_scores": normal_scores}
        return Output(batch.blank(scores), magnitude(features), batch.lengths, parts)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return RTFM's terms, and "macro", which trains the normal part to score 0 in every video.

        labels is float [videos]; every term is a scalar.
        """
        settings = self.settings
        terms = feature_magnitude_terms(output, labels, form, settings, training=self.training)
        normal_scores = output.parts["normal_scores"]
        macro = video_bce(normal_scores, torch.zeros_like(normal_scores))
        return {**terms, "macro": macro, "total": terms["total"] + settings.macro * macro}


def embedding(dim: int, width: int, p_drop: float) -> Layers:
    """Return a temporal network followed by dropout."""
    network = TemporalNetwork(dim, width, block=conv_norm_relu, names=NAMES)
    return Layers(network, nn.Dropout(p_drop))


def classifier(dim: int, hidden: int, p_drop: float) -> nn.Sequential:
    """Return a classifier per snippet: dim -> hidden -> hidden / 4 -> 1, sigmoid."""
    narrow = max(1, hidden // 4)
    return nn.Sequential(
        nn.Linear(dim, hidden),
        nn.ReLU(),
        nn.Dropout(p_drop),
        nn.Linear(hidden, narrow),
        nn.ReLU(),
        nn.Dropout(p_drop),
        nn.Linear(narrow, 1),
        nn.Sigmoid(),
    )


def make_dictionary(
    videos: Iterable[NDArray[np.floating]], *, percent: float = 50.0, seed: int = 42
) -> NDArray[np.float32]:
    """Learn a dictionary [atoms, dim] from the features of normal videos.

    videos are arrays [snippets, crops, dim]. The number of atoms is `percent` of the number of
    videos, at least one. Raises UsageError if there are no videos, or if the percentage is not in
    (0, 100].
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning

    if not 0 < percent <= 100:
        raise UsageError(f"a dictionary has between 0 and 100 percent atoms, got {percent}")
    means = [video.mean((0, 1), dtype=np.float64) for video in videos]
    if not means:
        raise UsageError("no normal video to make the dictionary of")
    channels = np.stack(means, 1)  # [dim, videos]
    atoms = max(1, round(len(means) * percent / 100))
    learner = MiniBatchDictionaryLearning(
        n_components=atoms,
        max_iter=math.ceil(ITERATIONS * BATCH_CHANNELS / len(channels)),
        batch_size=BATCH_CHANNELS,
        transform_algorithm="omp",
        transform_n_nonzero_coefs=min(NONZERO, atoms),
        random_state=seed,
    )
    # the pursuit may end early if two atoms coincide, which is harmless
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Orthogonal matching pursuit ended prematurely")
        codes = learner.fit(channels).transform(channels)
    dictionary: NDArray[np.float32] = codes.T.astype(np.float32)
    return dictionary
