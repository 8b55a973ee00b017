"""Read pickles of plain values and NumPy arrays without unpickling them.

A pickle is a program of opcodes for a stack machine; `pickletools` lists the opcodes without
running them. This module executes them on a stack of its own, which can hold only numbers, text,
lists, dictionaries and arrays. It never looks up a class or calls a function that the pickle names;
in particular not NumPy's `__setstate__`, which a malicious state can make corrupt memory. An array
is built from its bytes, after their number is compared with its dtype and shape. Protocols 0 to 5
are read, also of Python 2, whose strings are decoded as Latin-1.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_NUMBERS = re.compile(
    r"([<>=|]?)([biuf][1248]|f16)"
)  # the dtypes that are read, all of plain numbers


# What executing a damaged pickle can raise.
DAMAGES = (IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle names. It is only compared with a few known names."""

    module: str
    name: str

    def is_one_of(self, modules: tuple[str, ...], name: str) -> bool:
        return self.module in modules and self.name == name


@dataclass
class _DType:
    code: str  # such as f4, without the byte order
    order: str = "="

    def numpy(self) -> np.dtype[np.generic]:
        return np.dtype(f"{self.order.replace('|', '=')}{self.code}")


@dataclass
class _Array:
    """An array under construction; `values` is None until its state is set."""

    values: NDArray[np.generic] | None = None


def read_pickle(content: bytes) -> object:
    """Return the content of a pickle, given as bytes.

    Raises ValueError if the pickle is damaged or holds more than plain values and numeric arrays.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in text of protocol 0
            return _finished(_Machine().run(content), {})
    except (
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"it is damaged ({type(error).__name__})") from None


class _Machine:
    """The stack, the marks and the memo of the machine that executes a pickle."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self, content: bytes) -> object:
        """Execute all opcodes and return the value on top of the stack at STOP.

        Raises ValueError for an opcode that no pickle of arrays needs.
        """
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _PUSHED:
                self.stack.append(argument)
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise ValueError(f"it asks for {opcode.name}, which no array needs")
        raise ValueError("it ends too early")

    def since_mark(self) -> list[object]:
        """Pop and return the values above the last mark."""
        start = self.marks.pop()
        items, self.stack[start:] = self.stack[start:], []
        return items

    def take(self, n: int) -> list[object]:
        """Pop and return the last n values."""
        if n > len(self.stack):
            raise ValueError("it is damaged")
        items, self.stack[len(self.stack) - n :] = self.stack[len(self.stack) - n :], []
        return items

    def call(self) -> None:
        """Execute REDUCE: replace a function's name and arguments by what the known function
        returns.
        """
        name, arguments = self.take(2)
        self.stack.append(_made(name, arguments))

    def build(self) -> None:
        """Execute BUILD: set the state of an array or of a dtype."""
        (state,) = self.take(1)
        made = self.stack[-1]
        if not isinstance(state, tuple):
            raise ValueError("it is damaged")
        if isinstance(made, _Array):
            _, shape, dtype, is_fortran, data = state
            made.values = _array(data, dtype, shape, "F" if is_fortran else "C")
        elif isinstance(made, _DType):
            _, order, *parts = state
            if order not in ("<", ">", "=", "|") or any(part is not None for part in parts[:3]):
                raise ValueError("it has an array of another type than numbers")
            made.order = order
        else:
            raise ValueError("it sets the state of an object that is no array")

    def append(self, items: list[object]) -> None:
        """Append values to the list on top of the stack."""
        into = self.stack[-1]
        if not isinstance(into, list):
            raise ValueError("it is damaged")
        into.extend(items)

    def extend(self, pairs: list[object]) -> None:
        """Insert key, value, key, value, ... into the dictionary on top of the stack."""
        into = self.stack[-1]
        if not isinstance(into, dict):
            raise ValueError("it is damaged")
        into.update(zip(pairs[::2], pairs[1::2], strict=True))


def _made(name: object, arguments: object) -> object:
    """Return what a known function or class returns for the arguments. Raises ValueError for
    others.
    """
    if isinstance(name, _Name) and isinstance(arguments, tuple):
        if name.is_one_of(("collections",), "OrderedDict") and not arguments:
            return {}
        if name.is_one_of(_ARRAY_MODULES, "_reconstruct"):
            return _Array()
        if name.is_one_of(("numpy",), "dtype"):
            return _dtype(arguments[0])
        if name.is_one_of(_ARRAY_MODULES, "scalar"):
            return _Array(_array(arguments[1], arguments[0], (), "C"))
        if name.is_one_of(_NUMERIC_MODULES, "_frombuffer"):
            data, dtype, shape, order = arguments
            return _Array(_array(data, dtype, shape, "F" if order == "F" else "C"))
        if name.is_one_of(("builtins", "__builtin__"), "bytes") and not arguments:
            return b""
        if name.is_one_of(("_codecs",), "encode") and arguments[1] in ("latin1", "latin-1"):
            return str(arguments[0]).encode("latin-1")
        raise ValueError(f"it asks for {name.module}.{name.name}, which is no array")
    raise ValueError("it is damaged")


def _dtype(code: object) -> _DType:
    found = _NUMBERS.fullmatch(code) if isinstance(code, str) else None
    if found is None:
        raise ValueError(f"it has an array of type {code!r}, only numbers are read")
    return _DType(found[2], found[1] or "=")


def _array(data: object, dtype: object, shape: object, order: str) -> NDArray[np.generic]:
    """Return the array made of these bytes. Raises ValueError if their number does not fit."""
    if isinstance(data, str):  # bytes of Python 2
        data = data.encode("latin-1")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise ValueError("it has an array of another type than numbers")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"it has an array of shape {shape!r}")
    kind = dtype.numpy()
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"it has {len(data)} bytes for an array {list(shape)} of {kind}")
    flat = np.frombuffer(bytes(data), kind)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _finished(value: object, seen: dict[int, object]) -> object:
    """Return a value in which every `_Array` is replaced by its NumPy array.

    Raises ValueError if the value contains a class, an array without values, or itself. seen:
    results by the identity of their containers, so that shared ones are converted once; None for a
    container whose conversion is in progress, so one that contains itself is found.
    """
    if isinstance(value, _Array):
        if value.values is None:
            raise ValueError("it has an array without values")
        return value.values
    if isinstance(value, _Name | _DType):
        raise ValueError("it holds a class, not only values")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in seen:
        if seen[id(value)] is None:
            raise ValueError("it holds itself")
        return seen[id(value)]
    seen[id(value)] = None
    made: object
    if isinstance(value, dict):
        made = {key: _finished(item, seen) for key, item in value.items()}
    else:
        items = [_finished(item, seen) for item in value]
        made = tuple(items) if isinstance(value, tuple) else items
    seen[id(value)] = made
    return made


_PUSHED = {  # opcodes whose argument is pushed onto the stack
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


# What an opcode does; the second argument is the opcode's own.
_Action = Callable[[_Machine, str | int | None], object]


def _push(value: Callable[[], object]) -> _Action:
    return lambda m, _: m.stack.append(value())


def _tuple(n: int) -> _Action:
    return lambda m, _: m.stack.append(tuple(m.take(n)))


def _remember(m: _Machine, index: str | int | None) -> None:
    m.memo[int(index) if index is not None else len(m.memo)] = m.stack[-1]


def _recall(m: _Machine, index: str | int | None) -> None:
    m.stack.append(m.memo[int(index or 0)])


def _name(m: _Machine, argument: str | int | None) -> None:
    module, name = m.take(2) if argument is None else str(argument).split(" ", 1)
    m.stack.append(_Name(str(module), str(name)))


def _dict(m: _Machine, _: str | int | None) -> None:
    pairs = m.since_mark()
    m.stack.append({})
    m.extend(pairs)


_ACTIONS: dict[str, _Action] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: (m.stack if len(m.stack) > (m.marks or [0])[-1] else m.marks).pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "EMPTY_TUPLE": _push(tuple),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "LIST": lambda m, _: m.stack.append(m.since_mark()),
    "DICT": _dict,
    "APPEND": lambda m, _: m.append(m.take(1)),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "SETITEM": lambda m, _: m.extend(m.take(2)),
    "SETITEMS": lambda m, _: m.extend(m.since_mark()),
    "GET": _recall,
    "BINGET": _recall,
    "LONG_BINGET": _recall,
    "PUT": _remember,
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": _remember,
    "GLOBAL": _name,
    "STACK_GLOBAL": _name,
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
}
