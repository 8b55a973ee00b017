"""A run folder: what `vad train` leaves and everything later reads.

    runs/rtfm/
      detector.safetensors   weights of the chosen epoch, and the scaling of its input
      card.json              settings, data, provenance of the features, metrics, threshold
      history.csv            one row an epoch; the same curves for TensorBoard in tensorboard/

No pickles: safetensors holds tensors, the card is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vad.device import choose_device
from vad.errors import UsageError
from vad.files import committed, write_json

from .detectors import Detector, create_detector
from .streams import KINDS, Inputs, Names, Scaling

SCHEMA = "vad.run/1"
WEIGHTS, CARD = "detector.safetensors", "card.json"
PREFIXES = {"visual": "scaling.", "text": "text_scaling."}  # of the tensors of a stream's scaling
LONG_SNIPPETS = 1024  # longer videos are scored a crop at a time: attention grows with the square


class Run:
    """A trained detector with its card, ready to score. Use `open`."""

    def __init__(
        self, path: Path, card: dict[str, Any], detector: Detector, inputs: Inputs
    ) -> None:
        self.path, self.card, self.detector, self.inputs = path, card, detector.eval(), inputs

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu") -> Run:
        """Load a run folder; UsageError if it is none, or its weights do not fit its card."""
        path = Path(path)
        card = read_card(path)
        made = card["detector"]
        detector = create_detector(
            made["name"],
            visual_dim=made["visual_dim"],
            text_dim=made["text_dim"],
            settings=made["settings"],
        )
        tensors = load_tensors(path / WEIGHTS)
        try:
            detector.load_state_dict(with_prefix(tensors, "detector."))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path / WEIGHTS} does not fit {path / CARD}: {reason}") from None
        chosen = choose_device(device)
        scalings = {
            kind: Scaling.from_tensors(with_prefix(tensors, PREFIXES[kind]))
            for kind in names_of(card)
        }
        inputs = Inputs(scalings, apart=detector.text_dim is not None)
        return cls(path, card, detector.to(chosen), inputs.to(chosen))

    def save(self) -> None:
        """Write weights and card; the card comes last, a folder with one is a finished run."""
        tensors = {f"detector.{n}": t for n, t in self.detector.state_dict().items()}
        for kind, scaling in self.inputs.scalings.items():
            tensors |= {f"{PREFIXES[kind]}{n}": t for n, t in scaling.tensors().items()}
        save_tensors(self.path / WEIGHTS, tensors)
        write_json(self.path / CARD, self.card)

    @property
    def name(self) -> str:
        """What results call it: the name of its folder."""
        return self.path.resolve().name

    @property
    def threshold(self) -> float:
        """The score from which a frame is flagged, chosen on the validation videos."""
        return float(self.card["threshold"])

    @property
    def names(self) -> dict[str, str]:
        """The arrays of a store that it reads, by kind: {"visual": "visual/i3d"}."""
        return names_of(self.card)

    @torch.inference_mode()
    def score(
        self, visual: NDArray[Any] | None = None, text: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Snippet scores of one video, from the streams that the run was trained on.

        visual [snippets, crops, dim] and text [snippets, dim] as stored -> [snippets] in [0, 1],
        the mean over crops and over the neighbours that the run's `smoothing` says. Raises
        UsageError where a stream is missing.
        """
        text = text if text is None else text.reshape(len(text), 1, -1)
        given = {"visual": visual, "text": text}
        streams = {kind: stream for kind in self.names if (stream := given[kind]) is not None}
        if len(streams) < len(self.names):
            raise UsageError(f"{self.path} reads {' and '.join(self.names.values())}")
        features, sentences = self.inputs.of_arrays(streams)
        parts = features.split(1, dim=1) if features.shape[2] > LONG_SNIPPETS else (features,)
        scores = torch.stack([self.detector(part, sentences).scores[0] for part in parts]).mean(0)
        return smooth(scores.float().cpu().numpy(), self.card["training"]["smoothing"])


def features_card(
    store: str | Path,
    names: Names,
    widths: Mapping[str, int | None],
    *,
    crops: int | None,
    made: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, Any]:
    """What a card says of the features that a run reads: their arrays, sizes and provenance."""
    return {
        "store": str(store),
        "visual": names.get("visual"),
        "crops": crops,
        "dim": widths.get("visual"),
        "provenance": made.get("visual"),
        "text": names.get("text"),
        "text_dim": widths.get("text"),
        "text_provenance": made.get("text"),
    }


def names_of(card: Mapping[str, Any]) -> dict[str, str]:
    """The arrays that the run of a card reads, by kind."""
    return {kind: name for kind in KINDS if (name := card["features"].get(kind))}


def smooth(scores: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Mean of every score [snippets] and those within `reach`, the nearer the more; fewer at the
    ends. A reach of 1 weighs them 1, 2, 1."""
    window = np.bartlett(2 * reach + 3)[1:-1]
    sums = np.convolve(scores, window)[reach : reach + len(scores)]
    counts = np.convolve(np.ones(len(scores)), window)[reach : reach + len(scores)]
    return np.asarray(sums / counts, np.float32)


def read_card(path: Path) -> dict[str, Any]:
    """The card of a run; UsageError if there is none, or one of another schema."""
    try:
        card: dict[str, Any] = json.loads((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{path} is no run: it has no {CARD}", hint="name a folder that vad train wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path / CARD} cannot be read: {error}") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise UsageError(f"{path / CARD} is not of schema {SCHEMA}")
    return card


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors whole or not at all."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with committed(path) as part:
        save_file(plain, part)


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
