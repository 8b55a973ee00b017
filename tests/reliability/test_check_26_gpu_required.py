"""Check 26 and its like need a GPU: without one they are skipped, or fail where one is promised."""

import re
import shutil
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]


# Runs the tests of a folder without and with a promised GPU, and prints the exit codes.
TWICE = """
import os, pytest
for required in ("", "1"):
    os.environ["VAD_REQUIRE_GPU"] = required
    print("EXIT", int(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "markers=gpu", "."])))
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing is skipped")
def test_check_26_a_promised_gpu_that_is_not_there_fails_its_tests(python, tmp_path):
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "test_gpu.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_on_a_gpu():\n    raise AssertionError\n"
    )
    done = python.run("-c", TWICE, cwd=tmp_path, check=True)
    unasked, promised, _ = re.split(r"(?<=EXIT \d)\n", done.stdout)
    assert "1 skipped" in unasked
    assert unasked.endswith("EXIT 0")
    assert "1 error" in promised
    assert promised.endswith("EXIT 1")
