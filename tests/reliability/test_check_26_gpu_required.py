"""Check 26 and its like need a GPU: without one they are skipped, or fail where one is promised."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing is skipped")
@pytest.mark.parametrize(
    ("required", "code", "summary"), [("", 0, "1 skipped"), ("1", 1, "1 error")]
)
def test_check_26_a_promised_gpu_that_is_not_there_fails_its_tests(
    tmp_path, required, code, summary
):
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "test_gpu.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_on_a_gpu():\n    raise AssertionError\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "markers=gpu", "."],
        cwd=tmp_path,
        env={**os.environ, "VAD_REQUIRE_GPU": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert summary in done.stdout
