"""The `vad` command: its commands, its errors, its exit codes.

0 done; 2 usage; 3 done, but some videos failed; 70 our fault; 130 interrupted. Results go to
stdout, all else to stderr. Stages are imported by the command that runs them, so that `vad --help`
answers at once.
"""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from typing import Annotated

import typer

from vad.errors import InternalError, VadError
from vad.terminal import PlainFormatter, plain
from vad.version import VERSION

from .commands import (
    caption,
    compare,
    demo,
    doctor,
    download,
    evaluate,
    events,
    export,
    extract,
    import_detector,
    import_features,
    inspect,
    labels,
    models,
    reproduce,
    score,
    stream,
    train,
    tune,
    ui,
    verify,
)

app = typer.Typer(name="vad", no_args_is_help=True, pretty_exceptions_enable=False)
for module in (
    labels,
    extract,
    caption,
    train,
    tune,
    evaluate,
    score,
    events,
    stream,
    ui,
    demo,
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
app.command("eval", hidden=True)(evaluate.command)  # its short name
importing = typer.Typer(no_args_is_help=True, help="Bring in what others published.")
importing.command("features")(import_features.command)
importing.command("detector")(import_detector.command)
app.add_typer(importing, name="import")


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
    """Run the command line; every error ends as one line and an exit code."""
    log = logging.getLogger("vad")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter())
    log.handlers[:] = [handler]
    try:
        app()
    except VadError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        free = "; free some space and run again" if full else ""
        _fail(f"{error.strerror or error}{where}{free}", InternalError.exit_code)
    except Exception as error:
        line = f"internal error, {type(error).__name__}: {error}; vad --debug COMMAND shows where"
        _fail(line, InternalError.exit_code)
    finally:
        log.handlers.clear()


def _fail(line: str, code: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    print(f"vad: {plain(line)}", file=sys.stderr)
    sys.exit(code)
