"""Scaling of features before a detector, learnt from the training videos and kept with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SPREAD_FLOOR = 0.1  # of the mean deviation, so that features that hardly vary stay small
CLIP = 5.0  # deviations: one wild snippet shall not rule the others


@dataclass(frozen=True)
class Scaling:
    """clip((x - shift) / scale) @ basis. Without tensors, features stay as they are."""

    shift: Tensor | None = None  # [dim]
    scale: Tensor | None = None  # [dim]
    basis: Tensor | None = None  # [dim, components]

    @classmethod
    def standardise(cls, rows: NDArray[np.float32]) -> Scaling:
        """To mean 0 and deviation about 1; rows [rows, dim] of the training bags."""
        mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        floor = SPREAD_FLOOR * deviation.mean() + 1e-6
        return cls(_tensor(mean), _tensor(deviation + floor))

    def with_components(self, rows: NDArray[np.float32], n: int) -> Scaling:
        """After standardising, only the n principal components, their mean square brought to 1.

        rows [rows, dim] of the training bags. n is at most what the rows span. A few videos cannot
        tell which of a thousand features matter; they can for the directions that vary together.
        """
        scaled = self(torch.from_numpy(rows)).double()
        n = min(n, *scaled.shape)
        _, values, axes = torch.linalg.svd(scaled - scaled.mean(0), full_matrices=False)
        size = values[:n].square().sum().div(n * len(rows)).sqrt().clamp_min(1e-6)
        return Scaling(self.shift, self.scale, (axes[:n].T / size).float())

    @property
    def dim(self) -> int | None:
        """Width of the scaled features, where it differs from that of the features."""
        return None if self.basis is None else self.basis.shape[1]

    @property
    def device(self) -> torch.device | None:
        """Where its tensors are; None without any."""
        return None if self.shift is None else self.shift.device

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Scaling:
        """The scaling that `tensors` describes."""
        return cls(tensors.get("shift"), tensors.get("scale"), tensors.get("basis"))

    def tensors(self) -> dict[str, Tensor]:
        """What to store."""
        named = {"shift": self.shift, "scale": self.scale, "basis": self.basis}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def to(self, device: torch.device) -> Scaling:
        """The same on a device."""
        return Scaling.from_tensors({n: t.to(device) for n, t in self.tensors().items()})

    def __call__(self, features: Tensor) -> Tensor:
        """features [..., dim], scaled."""
        if self.shift is None or self.scale is None:
            return features
        scaled = ((features - self.shift) / self.scale).clamp(-CLIP, CLIP)
        return scaled if self.basis is None else scaled @ self.basis


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
