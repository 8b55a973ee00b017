"""RTFM and its published training loop in plain PyTorch, as the reference for `train.py`.

Written after a description of the released code (github.com/tianyu0207/RTFM, cf938f4): one file per
video, pooled when loaded; two loaders, one per class; the non-local block compares all pairs.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Videos(Dataset[NDArray[np.float32]]):
    """A data set of files [snippets, crops, dim], each pooled to a bag [crops, segments, dim]."""

    def __init__(self, paths: list[Path], n_segments: int) -> None:
        self.paths, self.n_segments = paths, n_segments

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        features = np.load(self.paths[index])
        return np.stack([self.pool(features[:, crop]) for crop in range(features.shape[1])])

    def pool(self, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        edges = np.linspace(0, len(crop), self.n_segments + 1, dtype=int)
        pooled = np.zeros((self.n_segments, crop.shape[1]), np.float32)
        for i, (start, stop) in enumerate(pairwise(edges)):
            pooled[i] = crop[start:stop].mean(0) if stop > start else crop[start]
        return pooled


def block(inputs: int, outputs: int, dilation: int = 1, bias: bool = True) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias)
    return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm1d(outputs))


class NonLocal(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv1d(width, width // 2, 1) for _ in range(3))
        self.out = nn.Sequential(nn.Conv1d(width // 2, width, 1), nn.BatchNorm1d(width))
        nn.init.zeros_(self.out[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        affinity = self.theta(x).transpose(1, 2) @ self.phi(x) / x.shape[2]
        gathered: Tensor = self.out((affinity @ self.g(x).transpose(1, 2)).transpose(1, 2))
        return gathered + x


class PlainRTFM(nn.Module):
    """Maps bags [videos, crops, segments, dim] to scores [videos, segments] and features like the
    bags.
    """

    def __init__(self, dim: int = 2048, width: int = 512) -> None:
        super().__init__()
        self.near = nn.ModuleList(block(dim, width, dilation) for dilation in (1, 2, 4))
        self.reduce = nn.Conv1d(dim, width, 1, bias=False)
        self.non_local = NonLocal(width)
        self.join = block(4 * width, dim, bias=False)
        self.head = nn.ModuleList([nn.Linear(dim, 512), nn.Linear(512, 128), nn.Linear(128, 1)])
        self.drop = nn.Dropout(0.7)

    def forward(self, bags: Tensor) -> tuple[Tensor, Tensor]:
        videos, crops, segments, dim = bags.shape
        x = bags.view(-1, segments, dim).permute(0, 2, 1)
        scales = [layer(x) for layer in self.near]
        scales.append(self.non_local(torch.relu(self.reduce(x))))
        features = self.drop((self.join(torch.cat(scales, 1)) + x).permute(0, 2, 1))
        hidden = self.drop(torch.relu(self.head[0](features)))
        hidden = self.drop(torch.relu(self.head[1](hidden)))
        scores = torch.sigmoid(self.head[2](hidden)).view(videos, crops, segments).mean(1)
        return scores, features.view(videos, crops, segments, dim)


def plain_loss(scores: Tensor, features: Tensor, drop: nn.Dropout, k: int = 3) -> Tensor:
    """Return the released loss; the first half of the videos is normal."""
    half = len(scores) // 2
    magnitudes = features.norm(dim=3).mean(1)
    means, picked = [], []
    for part in (slice(half, None), slice(half)):  # abnormal, then normal
        masked = magnitudes[part] * drop(torch.ones_like(magnitudes[part]))
        index = masked.topk(k, dim=1).indices
        rows = [video[:, i] for video, i in zip(features[part], index, strict=True)]
        means.append(torch.stack(rows).mean(2).norm(dim=2))
        picked.append(scores[part].gather(1, index).mean(1))
    labels = torch.cat([torch.zeros(half), torch.ones(half)])
    loss = nn.functional.binary_cross_entropy(torch.cat(picked[::-1]), labels)
    loss = loss + 1e-4 * (((100 - means[0]).abs() + means[1]) ** 2).mean()
    flat = scores[half:].flatten()
    total: Tensor = loss + 8e-4 * ((flat[1:] - flat[:-1]) ** 2).sum() + 8e-3 * flat.norm()
    return total


def plain_steps(
    folder: Path, batch: int, n_segments: int, steps: int
) -> tuple[float, float, float]:
    """Return the seconds per training step, of loading in a step, and per snippet scored.

    One step before the measurement warms up. Whole videos are scored one after the other, as in the
    test set.
    """
    torch.manual_seed(0)
    loaders = [
        DataLoader(Videos(sorted(folder.glob(f"{label}_*.npy")), n_segments), batch, shuffle=True)
        for label in (0, 1)
    ]
    model = PlainRTFM().train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-3)
    data_s = step_s = 0.0
    for step in range(1 + steps):
        started = time.process_time()
        bags = torch.cat([next(iter(loader)) for loader in loaders])
        loaded = time.process_time()
        scores, features = model(bags)
        loss = plain_loss(scores, features, model.drop)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step:
            data_s += loaded - started
            step_s += time.process_time() - started
    return (
        step_s / steps,
        data_s / steps,
        scoring_s(model.eval(), sorted(folder.glob("0_*.npy"))[:3]),
    )


@torch.no_grad()
def scoring_s(model: PlainRTFM, paths: list[Path]) -> float:
    """Return the seconds per snippet when files of whole videos are scored."""
    started, n_snippets = time.process_time(), 0
    for path in paths:
        features = torch.from_numpy(np.load(path)).transpose(0, 1)[None]
        n_snippets += model(features)[0].shape[1]
    return (time.process_time() - started) / n_snippets
