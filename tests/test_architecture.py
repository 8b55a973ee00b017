"""Data flows one way: lower layers never import upper ones, and the command line starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("extract", "train", "infer", "pipelines")
MAY_IMPORT = {
    "kernel": set(),
    "extract": {"extract"},
    "train": {"train"},
    "infer": {"infer", "train"},
    "pipelines": set(STAGES),
}


def files():
    for stage in STAGES:
        for path in (ROOT / stage).rglob("*.py"):
            yield stage, path
    package = ROOT / "src" / "vad"
    for path in (
        *package.glob("*.py"),
        *(package / "datasets").glob("*.py"),
        *(package / "store").rglob("*.py"),
    ):
        if path.parent != package or path.name not in ("__init__.py", "__main__.py"):  # two doors
            yield "kernel", path


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize(("layer", "path"), list(files()), ids=lambda x: getattr(x, "name", x))
def test_no_layer_imports_one_above_it(layer, path):
    for module in imported(path):
        top = module.partition(".")[0]
        assert top not in STAGES, f"{path}: import vad.stages.{module}"
        if module.startswith("vad.stages."):
            stage = module.split(".")[2]
            assert stage in MAY_IMPORT[layer], f"{path} imports {module}"


def loaded_by(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import vad", "import vad.stages.pipelines.cli"])
def test_the_command_line_starts_without_the_heavy_libraries(statement):
    heavy = {"numpy", "torch", "transformers", "zarr", "av", "decord", "sklearn", "matplotlib"}
    assert not loaded_by(statement) & heavy
