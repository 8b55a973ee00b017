"""The `vad` command line: it registers the commands and turns errors into exit codes.

Exit codes: 0 success; 2 usage error; 3 finished, but some videos failed; 70 internal error; 130
interrupted (Ctrl-C); 143 terminated (SIGTERM). Results go to stdout, everything else to stderr. A
command imports its stage only when it runs, so that `vad --help` answers at once.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Annotated

import typer

from vad.errors import InternalError, UsageError, VadError
from vad.terminal import PlainFormatter, plain
from vad.version import VERSION

from .commands import (
    annotate,
    calibrate,
    caption,
    card,
    compare,
    demo,
    doctor,
    download,
    evaluate,
    events,
    explain,
    export,
    extract,
    import_detector,
    import_features,
    inspect,
    labels,
    models,
    reproduce,
    run,
    score,
    search,
    stream,
    train,
    tune,
    ui,
    verify,
    watch,
)

app = typer.Typer(name="vad", no_args_is_help=True, pretty_exceptions_enable=False)
for module in (
    labels,
    annotate,
    extract,
    caption,
    train,
    tune,
    evaluate,
    calibrate,
    score,
    events,
    explain,
    search,
    stream,
    watch,
    run,
    ui,
    demo,
    card,
    inspect,
    verify,
    compare,
    export,
    models,
    reproduce,
    download,
    doctor,
):
    app.command(module.__name__.rpartition(".")[2])(module.command)
app.command("eval", hidden=True)(evaluate.command)  # a short alias
importing = typer.Typer(no_args_is_help=True, help="Bring in what others published.")
importing.command("features")(import_features.command)
importing.command("detector")(import_detector.command)
app.add_typer(importing, name="import")


TERMINATED = 128 + signal.SIGTERM


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vad {VERSION}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Weakly supervised video anomaly detection: raw video in, a score for every frame out."""
    logging.getLogger("vad").setLevel(logging.DEBUG if debug else logging.INFO)


def main() -> None:
    """Run the command line. An error is printed as one line and determines the exit code."""
    _open_standard_streams()
    with _logged():
        _run(sys.argv[1:])


def run_command(words: Sequence[str]) -> int:
    """Run a command within another one, or within a program, and return its exit code.

    It prints what it would print as a process of its own, and starts without loading anything
    again. words: those after `vad`.
    """
    is_logged = bool(logging.getLogger("vad").handlers)  # by the outer command
    with nullcontext() if is_logged else _logged():
        try:
            _run(words)
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def _run(words: Sequence[str]) -> None:
    """Run a command, and exit. An error is printed as one line and determines the exit code."""
    try:
        with _terminable():
            _program()(list(words))
    except VadError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        free = "; free some space and run again" if full else ""
        given = error.errno == errno.ENAMETOOLONG  # no name of ours is so long
        code = UsageError.exit_code if given else InternalError.exit_code
        _fail(f"{error.strerror or error}{where}{free}", code)
    except Exception as error:
        line = f"internal error, {type(error).__name__}: {error}; vad --debug COMMAND shows where"
        _fail(line, InternalError.exit_code)


@cache
def _program() -> Callable[[list[str]], object]:
    """Return the commands in the form that parses words; `app` itself would make it each time."""
    program: Callable[[list[str]], object] = typer.main.get_command(app)
    return program


@contextmanager
def _logged() -> Iterator[None]:
    """Show what is logged on stderr."""
    log = logging.getLogger("vad")
    level, handler = log.level, logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter())
    log.handlers[:] = [handler]
    try:
        yield
    finally:
        log.handlers.clear()
        log.setLevel(level)


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end a command as Ctrl-C does, with clean-up, but with exit code 143.

    A second SIGTERM ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    is_terminated = False

    def terminate(number: int, _frame: object) -> None:
        nonlocal is_terminated
        is_terminated = True
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except SystemExit:
        if is_terminated:
            _fail("terminated", TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _open_standard_streams() -> None:
    """Open stdin, stdout and stderr on the null device if they are closed.

    Otherwise the next file to be opened would get one of their descriptors, 0 to 2, and a library
    that prints would write into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # `open` takes the lowest free number: `number`
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115  # stays open
            setattr(sys, name, stream)


def _fail(line: str, code: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    print(f"vad: {plain(line)}", file=sys.stderr)
    sys.exit(code)
