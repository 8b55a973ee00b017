"""Imports point one way and in no circle, and the command line starts light.

`make check` runs this file. Imports are read by grimp from the installed package `vad`, whose
stages are links to the folders at the top of the repository; imports inside functions count.
"""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("extract", "train", "infer", "pipelines")
DOOR = {"vad", "vad.__main__", "vad.verbs", "vad.detectors"}  # they name the stages
MAY_IMPORT = {
    "kernel": {"kernel"},
    "extract": {"kernel", "extract"},
    "train": {"kernel", "train"},
    "infer": {"kernel", "infer", "train"},
    "pipelines": {"kernel", "door", *STAGES},
    "door": {"kernel", "door", *STAGES},
}


@pytest.fixture(scope="module")
def imports():
    """Every module of the package: what it imports, for type checkers alone included."""
    return grimp.build_graph("vad", include_external_packages=True, cache_dir=None)


def layer_of(module):
    if module in DOOR:
        return "door"
    return module.split(".")[2] if module.startswith("vad.stages.") else "kernel"


def test_the_graph_holds_every_file_of_the_package(imports):
    files = sum(len([*(ROOT / stage).rglob("*.py")]) for stage in STAGES)
    kernel = [p for p in (ROOT / "src" / "vad").rglob("*.py") if "stages/" not in p.as_posix()]
    ours = {module for module in imports.modules if module.partition(".")[0] == "vad"}
    assert len(ours) == files + len(kernel) + 1  # and vad/stages/__init__.py


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_no_layer_imports_one_above_it(imports, layer):
    modules = [m for m in imports.modules if m.startswith("vad.") and layer_of(m) == layer]
    assert modules
    wrong = [
        f"{module} imports {imported}"
        for module in modules
        for imported in imports.find_modules_directly_imported_by(module)
        if (imported.startswith("vad.") and layer_of(imported) not in MAY_IMPORT[layer])
        or imported in STAGES  # the folders are no packages of their own
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("vad", exclude_type_checking_imports=True, cache_dir=None)
    rest = {m: set(graph.find_modules_directly_imported_by(m)) for m in graph.modules}
    while True:  # leave out what imports nothing that is left, or is imported by nothing left
        imported = set().union(*rest.values())
        inner = {m for m, theirs in rest.items() if theirs & rest.keys() and m in imported}
        if len(inner) == len(rest):
            break
        rest = {m: rest[m] & inner for m in inner}
    assert rest == {}, "these modules import each other"


def loaded_by(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import vad", "import vad; vad.train, vad.detectors.RTFM", "import vad.stages.pipelines.cli"],
)
def test_the_command_line_starts_without_the_heavy_libraries(statement):
    heavy = {"numpy", "torch", "transformers", "zarr", "av", "decord", "sklearn", "matplotlib"}
    assert not loaded_by(statement) & heavy


def test_the_package_alone_loads_no_stage():
    assert not [m for m in loaded_by("import vad") if m.startswith("vad.stages")]
