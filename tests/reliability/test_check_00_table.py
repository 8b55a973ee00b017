"""docs/reliability.md names a test or a benchmark for every check, and they exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
    if re.match(r"\| \d+ \|", line)
]


def test_every_check_has_a_row():
    assert [int(number) for number, *_ in ROWS] == list(range(1, 36))


@pytest.mark.parametrize(("number", "what", "where"), ROWS, ids=[row[0] for row in ROWS])
def test_what_a_row_names_is_there(number, what, where):
    named = re.findall(r"`([^`]+)`", where)
    assert named
    for name in named:
        path, _, test = name.partition("::")
        assert (ROOT / path).is_file(), name
        assert not test or f"\ndef {test}(" in (ROOT / path).read_text(), name
