"""Command-line options made from settings classes, so that each setting is said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from vad.config import Option, options, parse_assignments, read_toml

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="settings from a TOML file")
]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="one setting; may be repeated"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
STORE_HELP = "feature store: a folder, or s3://, gs://..."
Store = Annotated[str, typer.Option("--store", metavar="STORE", help=STORE_HELP)]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help=STORE_HELP)]


def takes(cls: type, table: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every setting of a class, and `--config` and `--set`.

    The command's parameter `settings` receives those that were given, by name: in rising force the
    table of the TOML file, `--set`, the options. `vad.config.build` checks them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        known = options(cls)

        def run(config: Path | None, assign: list[str] | None, **given: Any) -> None:
            flags = {n: v for n in known if (v := given.pop(n)) is not None}
            settings = read_toml(config, table) | parse_assignments(assign or []) | flags
            command(**given, settings=settings)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [p for p in own if p.name != "settings"]
        parameters += [_parameter(option) for option in known.values()]
        parameters += [_keyword("config", Config), _keyword("assign", Assign)]
        return with_signature(run, command, parameters)

    return decorate


def with_signature(
    run: Callable[..., None], command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """`run` under the name and help of `command`, with the parameters that typer shall read."""
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _parameter(option: Option) -> inspect.Parameter:
    flag = f"--{option.name.replace('_', '-')}"
    choices = list(option.choices)
    info = typer.Option(
        flag,
        help=option.help,
        show_default=str(option.default) if option.default is not None else False,
        metavar="|".join(choices) or None,
        autocompletion=(lambda: choices) if choices else None,
    )
    return _keyword(option.name, Annotated[option.kind | None, info])


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
