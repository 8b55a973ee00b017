"""Settings of the executor: options of every command that decodes videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vad.config import build, option, options


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where the work is done. All but `executor` speak of Ray."""

    executor: Literal["local", "ray"] = option("local", "where the work is done")
    address: str | None = option(
        None, "Ray cluster, HOST:PORT or auto; by default $RAY_ADDRESS, else one is started here"
    )
    actor_gpus: float | None = option(
        None, "GPUs of a Ray actor, such as 0.5; by default 1 if the cluster has any", minimum=0
    )
    actor_cpus: int | None = option(
        None, "cores of a Ray actor; by default 1, or a GPU's share of them", minimum=1
    )
    max_losses: int = option(
        3, "Ray actors that a video may be under way in when they die", minimum=1
    )


def split(settings: Mapping[str, Any], *, where: str) -> tuple[ExecutorSettings, dict[str, Any]]:
    """The executor's settings, built, and the rest."""
    ours = options(ExecutorSettings)
    chosen = build(ExecutorSettings, {n: v for n, v in settings.items() if n in ours}, where=where)
    return chosen, {n: v for n, v in settings.items() if n not in ours}
