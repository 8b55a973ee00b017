"""Makes a stage callable: `vad.extract` is a package, and `vad.extract(videos)` runs it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def runs_as(package: str, function: str) -> None:
    """Let a call of `package` call `function` of its module `run`, imported at the first call."""

    class Stage(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(f"{package}.run"), function)(*args, **kwargs)

    sys.modules[package].__class__ = Stage
