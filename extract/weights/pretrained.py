"""Models of the transformers family by a name on the Hugging Face hub or a local folder.

Loading is loud in those libraries and fails in many ways; here it is quiet, and fails as a
UsageError that says what to do.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from vad.checkpoints import first_line
from vad.errors import UsageError
from vad.files import sha256_of

TENSORS = "*.safetensors", "pytorch_model*.bin"  # of a model, in the order of preference


def from_pretrained(kind: Any, model: str, *, offline: bool, **options: Any) -> Any:
    """`kind.from_pretrained(model)`; without a connection if `offline`, or for a folder.

    Code that a model brings along never runs, and nobody is asked whether it may.
    Raises UsageError if the model is not there, is of another kind, or lacks weights.
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


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn what libraries raise while they load a model into a UsageError, and keep them quiet."""
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


def record_of(model: str, config: Any = None) -> dict[str, Any]:
    """What identifies a model in a provenance.

    A folder: its name and the checksums of its weights; a name on the hub: the commit.
    """
    folder = Path(model)
    if not folder.is_dir():
        return {"name": model, "revision": getattr(config, "_commit_hash", None)}
    found = next((files for p in TENSORS if (files := sorted(folder.glob(p)))), [])
    sums = [sha256_of(file) for file in found]
    return {"name": folder.resolve().name, "sha256": sums[0] if len(sums) == 1 else sums}


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
