"""`vad watch`: watch several cameras, and tell events to those who are to know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    config: Annotated[
        Path, typer.Argument(metavar="FILE", help="cameras, zones, hours and sinks")
    ] = Path("cameras.toml"),
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="tell the mistakes in the file and what keeps runs and sinks from use, and end",
        ),
    ] = False,
    test_alert: Annotated[
        bool, typer.Option("--test-alert", help="send a test alert to every sink, and end")
    ] = False,
) -> None:
    """Watch cameras with trained runs, and tell events as they begin and end.

    Ctrl-C or SIGTERM ends it; what was not told is told at the next start.

    Examples:

    vad watch

    vad watch cameras.toml --test-alert
    """
    import signal
    import threading

    from vad.verbs import watch

    stop, ended_by = threading.Event(), 0

    def end(number: int, _frame: object) -> None:
        nonlocal ended_by
        ended_by = number
        stop.set()
        signal.signal(number, signal.default_int_handler)

    def begin() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)

    watch(config, stop=stop, on_start=begin, check=check, test_alert=test_alert)
    if check:
        typer.echo(f"{config}: no mistakes")
    if stop.is_set():
        raise typer.Exit(128 + ended_by)
