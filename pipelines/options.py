"""Code that commands share: common options, options made from settings classes, final messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vad.config import Option, build, options, parse_assignments, read_toml, unknown
from vad.errors import UsageError

if TYPE_CHECKING:
    from vad.stages.extract.outcome import Outcome

STORE = "features.zarr"  # the default store of commands
SETTINGS = Path("vad.toml")  # of a project folder: settings of each command, in a table
COMMON = "Common"  # panel in --help of the options that are not settings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="settings from a TOML file; by default vad.toml, if there is one",
        rich_help_panel=COMMON,
    ),
]
Assign = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="one setting; repeatable", rich_help_panel=COMMON
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="show no progress", rich_help_panel=COMMON)
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object", rich_help_panel=COMMON)]
STORE_HELP = "feature store: a folder, or s3://, gs://..."
Store = Annotated[
    str, typer.Option("--store", metavar="STORE", help=STORE_HELP, rich_help_panel=COMMON)
]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help=STORE_HELP)]
RunOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="RUN",
        help="trained run; by default the newest finished one in runs/",
        rich_help_panel=COMMON,
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        "--threshold",
        metavar="T|auto",
        help="score from which an event begins; auto: the run's",
        rich_help_panel=COMMON,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")]
Offline = Annotated[
    bool, typer.Option("--offline", help="open no network connection: use what is on this machine")
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="where the backbone's weights are now")
]
Command = Callable[..., None]


def takes(
    cls: type,
    table: str,
    *,
    built: bool = True,
    open_: bool = False,
    defaults: Mapping[str, object] | None = None,
    without: tuple[str, ...] = (),
) -> Callable[[Command], Command]:
    """Give a command an option for every setting of a class, and the options `--config` and
    `--set`.

    The command's parameter `settings` receives an instance of the class or, if not `built`, a
    dictionary of the settings that were given. With `open_`, this may hold other names too, which
    the command checks, but none of its own parameters. Later sources override earlier ones: the
    table `table` of the TOML file, `--set`, the options. defaults: values that `--help` shows in
    place of those of the class. without: names of settings for which the command has an option of
    its own.
    """

    def decorate(command: Command) -> Command:
        known = {name: o for name, o in options(cls).items() if name not in without}

        def run(config: Path | None, assign: list[str] | None, **given: Any) -> None:
            flags = {n: v for n in known if (v := given.pop(n)) is not None}
            settings = project_settings(table, config) | parse_assignments(assign or []) | flags
            where = f"vad {table}"
            for name in settings.keys() - known.keys():
                if not built and (not open_ or name in given):
                    raise UsageError(f"{where}: {unknown(name, known)}")
            command(**given, settings=build(cls, settings, where=where) if built else settings)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [p for p in own if p.name != "settings"]
        parameters += [_parameter(o, (defaults or {}).get(o.name)) for o in known.values()]
        parameters += [_keyword("config", Config), _keyword("assign", Assign)]
        return with_signature(run, command, parameters)

    return decorate


def project_settings(table: str, config: Path | None = None) -> dict[str, object]:
    """Return the settings of a command in a TOML file, by default those of vad.toml if it is there.

    table: the name of the command. Raises UsageError if the file is missing or wrong.
    """
    return read_toml(config or (SETTINGS if SETTINGS.exists() else None), table)


def with_signature(run: Command, command: Command, parameters: list[inspect.Parameter]) -> Command:
    """Return `run` with the name and help of `command`, and with the parameters that typer is to
    read.
    """
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _parameter(option: Option, shown: object) -> inspect.Parameter:
    flag = f"--{option.name.replace('_', '-')}"
    choices = list(option.choices)
    default = option.default if shown is None else shown
    info = typer.Option(
        flag,
        help=option.help,
        show_default=str(default) if default is not None else False,
        metavar="|".join(choices) or None,
        autocompletion=(lambda: choices) if choices else None,
        rich_help_panel=option.panel or COMMON,
    )
    return _keyword(option.name, Annotated[option.kind | None, info])


def _keyword(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def tell_outcome(outcome: Outcome, store: str, then: str) -> None:
    """Print how many videos were done, and the next command; then exit with the exit code."""
    from vad.stages.extract.outcome import Failures

    typer.echo(
        f"{len(outcome.done)} done, {len(outcome.skipped)} skipped, {len(outcome.failed)} failed"
        + (f"; reasons in {Failures(store).path}" if outcome.failed else "")
    )
    if outcome.done or outcome.skipped:
        tell_next(then)
    raise typer.Exit(outcome.exit_code)


def tell_next(command: str) -> None:
    """Print the command that is sensible next, on stderr."""
    typer.echo(f"next: {command}", err=True)


def with_store(command: str, store: str | Path) -> str:
    """Return a command followed by its store, unless that is the default store."""
    return command if str(store) == STORE else f"{command} {store}"
