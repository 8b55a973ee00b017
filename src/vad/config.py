"""Settings: a frozen dataclass defines the names, types, defaults, ranges and help texts.

    @dataclass(frozen=True, kw_only=True)
    class TrainSettings:
        lr: float = option(1e-3, "learning rate", minimum=0)

The command line (`vad.stages.pipelines.options`), `--config FILE.toml`, `--set name=value` and the
Python functions all use `build`, which reports all mistakes at once.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .errors import UsageError
from .names import did_you_mean
from .tables import read_text

Settings = TypeVar("Settings")
TABLES = (
    "extract",
    "caption",
    "train",
    "score",
    "events",
    "stream",
    "space",
)  # the tables that a TOML file can have
MAX_BYTES = 2**20  # largest TOML file
LONGEST = 4096  # characters of a text; paths have no more
# Integers up to this are exact in every JSON reader; models compute in 32 bits.
LARGEST: dict[type, float] = {int: 2**53, float: 3.4e38}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, as a field of a settings dataclass declares it."""

    name: str
    kind: type  # bool, int, float, str or Path
    default: Any
    help: str
    optional: bool = False  # None is allowed
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    panel: str = ""  # heading under which `--help` lists it

    def check(self, value: Any) -> Any:
        """Return the value converted to the option's type. Raises ValueError if it breaks a rule of
        the option.
        """
        if value is None and self.optional:
            return None
        value = self._convert(value)
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is not one of: {', '.join(self.choices)}")
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")
        return value

    def _convert(self, value: Any) -> Any:
        if self.kind is bool:
            words = {"true": True, "false": False}
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in words:
                return words[value.lower()]
            raise ValueError(f"{value!r} is neither true nor false")
        if isinstance(value, bool) or (self.kind is int and isinstance(value, float)):
            raise ValueError(f"{value!r} is no {NAMES[self.kind]}")
        try:
            if isinstance(value, list | tuple | dict):
                raise TypeError
            converted = self.kind(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{value!r} is no {NAMES[self.kind]}") from None
        if self.kind in (str, Path) and len(str(converted)) > LONGEST:
            raise ValueError(f"{str(converted)[:40]!r}... has more than {LONGEST:,} characters")
        if self.kind is float and not math.isfinite(converted):
            raise ValueError(f"{value!r} is no finite number")
        if self.kind in LARGEST and abs(converted) > LARGEST[self.kind]:
            raise ValueError(f"{value!r} is too large")
        return converted


NAMES: dict[type, str] = {int: "whole number", float: "number", str: "text", Path: "path"}


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    panel: str = "",
) -> Any:
    """Declare a setting: return a dataclass field with its help, range and panel of `--help`.

    The field's choices come from its type, if that is a `Literal`.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "panel": panel}
    return dataclasses.field(default=default, metadata=metadata)


def options(cls: type) -> dict[str, Option]:
    """Return the options that a settings class declares, by name."""
    hints = get_type_hints(cls)
    return {f.name: _option(f, hints[f.name]) for f in dataclasses.fields(cls)}


def _option(field: dataclasses.Field[Any], hint: Any) -> Option:
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        optional = True
        (hint,) = [t for t in get_args(hint) if t is not type(None)]
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return Option(
        name=field.name,
        kind=str if choices else hint,
        default=None if field.default is MISSING else field.default,
        help=field.metadata.get("help", ""),
        optional=optional,
        minimum=field.metadata.get("minimum"),
        maximum=field.metadata.get("maximum"),
        choices=choices,
        panel=field.metadata.get("panel", ""),
    )


def take(cls: Callable[..., Settings], given: dict[str, Any], *, where: str) -> Settings:
    """Build settings from the values in `given` that belong to their class, and remove these.

    Raises UsageError like `build`.
    """
    own = {name: given.pop(name) for name in options(cast("type", cls)) if name in given}
    return build(cls, own, where=where)


def build(cls: Callable[..., Settings], *sources: Mapping[str, object], where: str) -> Settings:
    """Return settings made from several sources; later sources override earlier ones.

    Raises UsageError that lists every unknown name, with the nearest known one, and every value of
    a wrong type or outside its choices or range. where: the words that begin the message.
    """
    known = options(cls)  # type: ignore[arg-type]  # a dataclass is both a type and a callable
    given: dict[str, object] = {}
    for source in sources:
        given.update(source)
    mistakes, values = [], {}
    for name, value in given.items():
        if name not in known:
            mistakes.append(unknown(name, known))
            continue
        try:
            values[name] = known[name].check(value)
        except ValueError as error:
            mistakes.append(f"{name}: {error}")
    if mistakes:
        raise UsageError(f"{where}: " + "; ".join(mistakes))
    return cls(**values)


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the message about an unknown setting, with the nearest known name or all of them."""
    known = sorted(known)
    rest = did_you_mean(name, known) or f"there are: {', '.join(known)}"
    return f"no setting {name!r}, {rest}"


def read_toml(path: str | Path | None, table: str) -> dict[str, object]:
    """Return one table of a TOML file, such as `[train]`; empty without a path or such a table.

    Raises UsageError if the file is missing or not TOML, or has a table that no command reads.
    """
    if path is None:
        return {}
    if not Path(path).exists():
        raise UsageError(f"no configuration file {path}")
    try:
        document = tomllib.loads(read_text(Path(path), MAX_BYTES))
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{path} is not TOML that can be read: it is nested too deep") from None
    if strange := sorted(set(document) - set(TABLES)):
        rest = did_you_mean(strange[0], TABLES) or f"there are: {', '.join(TABLES)}"
        raise UsageError(f"{path}: no command reads [{strange[0]}], {rest}")
    found = document.get(table, {})
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {table} must be a table: [{table}]")
    return found


def parse_assignments(pairs: Iterable[str]) -> dict[str, str]:
    """Return `--set` arguments, each `name=value`, as a dictionary; `build` converts the values.

    Raises UsageError for an argument without `=`.
    """
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write name=value")
        values[name.strip().replace("-", "_")] = value.strip()
    return values
