"""Labels and segments damaged at random: every command ends in an exit code and one line."""

import random
from collections.abc import Callable

import pytest

DAMAGES: dict[str, Callable[..., bytes | None]] = {}


def damage(function):
    DAMAGES[function.__name__] = function
    return function


@damage
def cut(data, rng):
    return data[: rng.randrange(len(data) + 1)]


@damage
def flip_a_bit(data, rng):
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


@damage
def insert_bytes(data, rng):
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place:]


@damage
def repeat_a_line(data, rng):
    lines = data.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"".join(lines)


@damage
def drop_a_line(data, rng):
    lines = data.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


VALUES = [
    "",
    "nan",
    "-1",
    "1e9",
    "9" * 30,
    "0x10",
    "2",
    "a,b",
    '"',
    "\u202e",
    "NULL",
    "true",
    "../x",
]


@damage
def replace_a_value(data, rng):
    lines = [line.split(b",") for line in data.splitlines()]
    line = rng.choice(lines)
    line[rng.randrange(len(line))] = rng.choice(VALUES).encode()
    return b"\n".join(b",".join(line) for line in lines) + b"\n"


@damage
def swap_two_columns(data, rng):
    lines = [line.split(b",") for line in data.splitlines()]
    one, other = rng.randrange(len(lines[0])), rng.randrange(len(lines[0]))
    for line in lines:
        if max(one, other) < len(line):
            line[one], line[other] = line[other], line[one]
    return b"\n".join(b",".join(line) for line in lines) + b"\n"


@damage
def save_in_another_encoding(data, rng):
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(["utf-16", "utf-8-sig", "utf-32", "utf-7"]))


def trial(seed, vad, small_run, folder):
    rng = random.Random(seed)
    labels = (small_run / "labels.csv").read_bytes()
    segments = b"video,start_frame,end_frame,category\nv1,2,9,x\nv3,0,20,y\n"
    tables = {"labels": labels, "segments": segments}
    which = rng.choice(list(tables))
    names = rng.choices(list(DAMAGES), k=rng.randrange(1, 4))
    for name in names:
        tables[which] = DAMAGES[name](tables[which] or b"video", rng)
    for name, data in tables.items():
        (folder / f"{name}.csv").write_bytes(data)
    code, _, err = vad(
        "evaluate",
        small_run / "run",
        *("--labels", folder / "labels.csv", "--segments", folder / "segments.csv"),
        *("--split", "train", "--out", folder / "evaluation"),
    )
    assert code in (0, 2, 3), f"seed {seed}, {which} {names}: {err}\n{tables[which]!r}"
    assert "Traceback" not in err
    return code


@pytest.mark.parametrize("n_trials", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_tables_end_in_one_line(n_trials, vad, small_run, tmp_path):
    codes = [trial(seed, vad, small_run, tmp_path) for seed in range(n_trials)]
    assert {0, 2} <= set(codes)  # some damage does no harm, most is told
