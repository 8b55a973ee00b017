"""Read JSON files into dataclasses; every field is checked against its type.

    @dataclass(frozen=True)
    class Choice:
        epoch: int | None
        on: str = "validation"

    parse(Choice, json.loads(text))  # ValueError "epoch is 'x', expected a whole number or null"

A type is a dataclass, `tuple[X, ...]`, `Mapping[str, X]`, `Literal`, an optional type, a plain type
of JSON, `object` for any JSON value, or a union of a tuple and another of these. A field without a
default is required. Members that the dataclass does not have are ignored, so that documents can
contain more than their reader needs; a field named `document` keeps the whole JSON object.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from .config import options
from .errors import UsageError
from .tables import MAX_BYTES, read_text

LARGEST = 2**63  # 64-bit integers, because times in nanoseconds are such
SHOWN = 60  # characters of a wrong value that an error message shows
DEEPEST = 50  # levels of nested objects and lists
WHOLE = "document"  # name of the field that keeps the whole JSON object

Document = TypeVar("Document")
JSON: TypeAlias = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> object:
    """Return the value in a JSON file. Raises UsageError if it cannot be read or is too large."""
    try:
        return json.loads(read_text(path, max_bytes))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def parse(cls: type[Document], value: object, where: str = "") -> Document:
    """Return a dataclass made from a JSON object. Raises ValueError for the first wrong field.

    where: how the message names the object, as a path such as "members[0]", or in words that end
    with a colon.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the document'} {_expected('an object', value)}")
    hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
    values = {}
    for field in _fields(cls):  # type: ignore[arg-type]  # a class is hashable
        if field.name == WHOLE:
            values[WHOLE] = _finite(value, where)
        elif field.name in value:
            path = _join(where, field.name)
            values[field.name] = _check(hints[field.name], value[field.name], path)
            if field.metadata:  # declared by `option`, so it has a range
                _check_range(cls, field.name, values[field.name], path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_join(where, field.name)} is missing")
    try:
        return cls(**values)
    except ValueError as error:  # raised by `__post_init__`; begins with the field's name
        raise ValueError(_join(where, str(error))) from None


# What is found out about a type is kept, because it takes longer than a check.
_hints = functools.cache(get_type_hints)
_options = functools.cache(options)


@functools.cache
def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)


@functools.cache
def _form(hint: Any) -> tuple[bool, Any, tuple[Any, ...]]:
    """Return whether a type is a dataclass, and its origin and arguments as `typing` has them."""
    return dataclasses.is_dataclass(hint), get_origin(hint), get_args(hint)


def _join(where: str, name: str) -> str:
    return f"{where} {name}" if where.endswith(":") else f"{where}.{name}" if where else name


def _check_range(cls: type, name: str, value: object, path: str) -> None:
    try:
        _options(cls)[name].check(value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check(hint: Any, value: object, path: str) -> Any:
    """Return the value converted to the type `hint`. Raises ValueError, with the path."""
    is_dataclass, origin, arguments = _form(hint)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        if value is None and len(kinds) < len(arguments):
            return None
        is_list = isinstance(value, list)
        hint = next((k for k in kinds if (_form(k)[1] is tuple) == is_list), kinds[0])
        is_dataclass, origin, arguments = _form(hint)
    if is_dataclass:
        return parse(hint, value, path)
    if origin is Literal:
        if not any(type(value) is type(known) and value == known for known in arguments):
            known = ", ".join(map(repr, arguments))
            raise ValueError(f"{path} {_expected(f'one of {known}', value)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{path} {_expected('a list', value)}")
        return tuple(_check(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{path} {_expected('an object', value)}")
        return {name: _check(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    return _check_plain(hint, value, path)


def _check_plain(hint: Any, value: object, path: str) -> object:
    if hint is object:
        return _finite(value, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(_finite(value, path))  # type: ignore[arg-type]  # a number, as just checked
    if hint is int and is_number and isinstance(value, int):
        return _finite(value, path)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise ValueError(f"{path} {_expected(NAMES[hint], value)}")


def _finite(value: object, path: str, depth: int = 0) -> object:
    """Return the value. Raises ValueError if it contains a number not finite or over 64 bits, or if
    it is nested too deeply for the functions that read and write it.
    """
    if depth > DEEPEST:
        raise ValueError(f"{path[:SHOWN]}... is nested too deeply")
    if isinstance(value, dict):
        items = value.items()
        return {name: _finite(item, _join(path, name), depth + 1) for name, item in items}
    if isinstance(value, list):
        return [_finite(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value}, expected a finite number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{path} is too large")
    return value


def _expected(what: str, value: object) -> str:
    shown = "null" if value is None else repr(value)
    return f"is {shown[:SHOWN]}{'...' if len(shown) > SHOWN else ''}, expected {what}"


NAMES = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
