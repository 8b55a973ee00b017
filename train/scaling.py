"""Scaling of features before a detector, learnt from the training videos and kept with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """(x - shift) / scale, a value a feature. Without tensors, features stay as they are."""

    shift: Tensor | None = None  # [dim]
    scale: Tensor | None = None  # [dim]

    @classmethod
    def standardise(cls, visual: NDArray[np.float32]) -> Scaling:
        """To mean 0 and deviation 1 over the bags, [videos, crops, segments, dim].

        A feature that never changes is only shifted.
        """
        n = visual[..., 0].size
        mean = sum(bag.sum((0, 1), dtype=np.float64) for bag in visual) / n
        variance = sum(((bag - mean) ** 2).sum((0, 1)) for bag in visual) / n
        deviation = np.sqrt(variance)
        deviation[deviation < 1e-6] = 1.0
        return cls(_tensor(mean), _tensor(deviation))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Scaling:
        """The scaling that `tensors` describes."""
        return cls(tensors.get("shift"), tensors.get("scale"))

    def tensors(self) -> dict[str, Tensor]:
        """What to store."""
        named = {"shift": self.shift, "scale": self.scale}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def to(self, device: torch.device) -> Scaling:
        """The same on a device."""
        return Scaling.from_tensors({n: t.to(device) for n, t in self.tensors().items()})

    def __call__(self, features: Tensor) -> Tensor:
        """features [..., dim], scaled."""
        if self.shift is None or self.scale is None:
            return features
        return (features - self.shift) / self.scale


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
