"""Settings of the executor: options of every command that decodes videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from vad.config import build, option, options

_cluster = partial(option, panel="Cluster")


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where videos are processed. All settings except `executor` concern Ray."""

    executor: Literal["local", "ray"] = _cluster(
        "local", "local: on this machine; ray: on a Ray cluster"
    )
    address: str | None = _cluster(
        None, "Ray cluster, HOST:PORT or auto; by default $RAY_ADDRESS, else one is started here"
    )
    actor_gpus: float | None = _cluster(
        None,
        "GPUs per Ray actor, such as 0.5; by default 1 if the cluster has any",
        minimum=0,
        maximum=1024,
    )
    actor_cpus: int | None = _cluster(
        None,
        "cores per Ray actor; by default 1, or its share of a machine with GPUs",
        minimum=1,
        maximum=4096,
    )
    max_losses: int = _cluster(
        3, "give up on a video after this many workers died on it", minimum=1, maximum=1000
    )


def split(settings: Mapping[str, object], *, where: str) -> tuple[ExecutorSettings, dict[str, Any]]:
    """Split settings by name: `ExecutorSettings`, checked, and a dictionary of all others."""
    ours = options(ExecutorSettings)
    chosen = build(ExecutorSettings, {n: v for n, v in settings.items() if n in ours}, where=where)
    return chosen, {n: v for n, v in settings.items() if n not in ours}
