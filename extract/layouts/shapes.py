"""Which axis of an array of features is which: told from the shapes of all files together.

An array is [snippets, dim], [snippets, crops, dim] or [crops, snippets, dim]. All videos of a set
have the same number of crops, 1, 5 or 10, while their numbers of snippets differ: so the axis of
the crops is the one that is the same in all files. One file alone can leave it open:
[10, 10, 2048] and [5, 10, 2048] can be read either way, and then the person must say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from vad.errors import UsageError

Shape = tuple[int, ...]
CROP_AXIS: dict[str, int] = {"snippets-crops": 1, "crops-snippets": 0}
CROP_COUNTS = (1, 5, 10)


def common_shape(shapes: Mapping[str, Shape], axes: str = "auto") -> tuple[int | None, int, int]:
    """The axis of the crops (None where arrays have none), their number, and the width.

    shapes: by the name of the file. Raises UsageError that names a file which differs from the
    others, or `--axes` where the shapes leave it open.
    """
    if axes not in ("auto", *CROP_AXIS):
        raise UsageError(f"axes are auto, {' or '.join(CROP_AXIS)}, not {axes!r}")
    n_axes = _same("number of axes", {name: len(shape) for name, shape in shapes.items()})
    dim = _same("width", {name: shape[-1] for name, shape in shapes.items()})
    if n_axes == 2:
        return None, 1, dim
    tried = list(CROP_AXIS.values()) if axes == "auto" else [CROP_AXIS[axes]]
    fitting = [axis for axis in tried if _crops(shapes, axis)]
    if len(fitting) == 2 and any(shape[:2] != (1, 1) for shape in shapes.values()):
        name, shape = next(iter(shapes.items()))
        raise UsageError(
            f"{name} is {list(shape)}: either axis could be that of the crops",
            hint=f"--axes {' or --axes '.join(CROP_AXIS)}",
        )
    if not fitting:  # say it of the axis where most files agree
        axis = max(tried, key=lambda a: max(Counter(s[a] for s in shapes.values()).values()))
        n_crops = _same("number of crops", {name: shape[axis] for name, shape in shapes.items()})
        raise UsageError(
            f"{next(iter(shapes))} is {list(next(iter(shapes.values())))}: {n_crops} crops on axis "
            f"{axis}, where there are 1, 5 or 10",
            hint=f"--axes {' or --axes '.join(CROP_AXIS)}",
        )
    return fitting[0], next(iter(shapes.values()))[fitting[0]], dim


def _crops(shapes: Mapping[str, Shape], axis: int) -> int | None:
    """The number of crops, if `axis` can be theirs."""
    counts = {shape[axis] for shape in shapes.values()}
    return next(iter(counts)) if len(counts) == 1 and counts <= set(CROP_COUNTS) else None


def _same(what: str, values: Mapping[str, int]) -> int:
    """The value that all files share; UsageError names the first that differs from most."""
    (usual, n), *others = Counter(values.values()).most_common()
    if others:
        odd = next(name for name, value in values.items() if value != usual)
        like = next(name for name, value in values.items() if value == usual)
        raise UsageError(
            f"the {what} of {odd} is {values[odd]}, that of {n} of {len(values)} files, such as "
            f"{like}, is {usual}",
            hint="import the two sets into stores of their own",
        )
    return usual
