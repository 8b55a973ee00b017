"""One file per command: its options, the call of a verb, what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from vad.stages.extract.outcome import Outcome

STORE = "features.zarr"  # what commands read and write where no store is named


def tell_outcome(outcome: Outcome, store: str, then: str) -> None:
    """Print how many videos were done, and the next command; end with the exit code of that."""
    from vad.stages.extract.outcome import Failures

    typer.echo(
        f"{len(outcome.done)} done, {len(outcome.skipped)} skipped, {len(outcome.failed)} failed"
        + (f"; reasons in {Failures(store).path}" if outcome.failed else "")
    )
    if outcome.done or outcome.skipped:
        tell_next(then)
    raise typer.Exit(outcome.exit_code)


def tell_next(command: str) -> None:
    """Name the command that makes sense now."""
    typer.echo(f"next: {command}", err=True)


def with_store(command: str, store: str | Path) -> str:
    """A command with its store, where that has to be named."""
    return command if str(store) == STORE else f"{command} {store}"
