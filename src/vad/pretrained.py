"""Load models of the transformers family by a name on the Hugging Face hub or a local folder.

These libraries print a lot while loading and fail with many kinds of errors. Here they are silent,
and every failure is a UsageError that says what to do.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .checkpoints import first_line
from .errors import UsageError
from .files import sha256_of

LEAST_ENTRIES = 30  # of a vocabulary that can write words
TENSORS = "*.safetensors", "pytorch_model*.bin"  # files of tensors, in order of preference


def from_pretrained(kind: Any, model: str, *, offline: bool, **options: Any) -> Any:
    """Return `kind.from_pretrained(model)`, without a connection if `offline` is set or `model` is
    a folder.

    Code that comes with a model is never run, and the user is never asked to allow it. Raises
    UsageError if the model is not there, is of another kind, or lacks weights.
    """
    local = offline or Path(model).is_dir()
    with loading(model):
        if kind.__name__.startswith("Auto"):  # only these look for code beside the weights
            options["trust_remote_code"] = False
        loaded = kind.from_pretrained(model, local_files_only=local, **options)
    if options.get("output_loading_info"):
        loaded, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise UsageError(
                f"{model} lacks {len(missing)} weights of the model it says it is "
                f"({', '.join(missing[:3])})"
            )
    return loaded


def load_tokenizer(model: str, *, offline: bool) -> Any:
    """Return the tokenizer of a model. Raises UsageError if its files are not there: transformers
    would make an empty one.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = from_pretrained(AutoTokenizer, model, offline=offline)
    except UsageError as error:
        raise _without_tokenizer(model) from error
    if len(tokenizer) < LEAST_ENTRIES:
        raise _without_tokenizer(model)
    return tokenizer


def _without_tokenizer(model: str) -> UsageError:
    return UsageError(
        f"{model} has no tokenizer, which reads words",
        hint="put its tokenizer.json, or vocab.json and merges.txt, beside the weights",
    )


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Silence the libraries while a model is loaded, and turn their errors into a UsageError."""
    from transformers.utils import logging as transformers_logging  # a second; many runs need none

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    quiet = logging.getLogger("sentence_transformers")
    quiet.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except ImportError as error:
        raise UsageError(
            f"{model} needs a package that is not here: {first_line(error)}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UsageError(
            f"{model} cannot be loaded: {first_line(error)}",
            hint="give a local folder of it, or a name on the hub and a connection",
        ) from error
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def record_of(model: str, config: object = None) -> dict[str, object]:
    """Return the record that identifies a model in a provenance.

    For a folder: its name and the checksums of its weights. For a name on the hub: the name and the
    commit.
    """
    folder = Path(model)
    if not folder.is_dir():
        return {"name": model, "revision": getattr(config, "_commit_hash", None)}
    found = next((files for p in TENSORS if (files := sorted(folder.glob(p)))), [])
    sums = [sha256_of(file) for file in found]
    return {"name": folder.resolve().name, "sha256": sums[0] if len(sums) == 1 else sums}


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of these packages, by name."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
