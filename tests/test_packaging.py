"""The package is what the tree is."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("extract", "train", "infer", "pipelines")
KERNEL = ("datasets", "store", "store/backends", "stages")  # packages of it


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_linked_into_the_package(stage):
    link = ROOT / "src" / "vad" / "stages" / stage
    if not (ROOT / ".git").exists():
        pytest.skip("an unpacked source distribution has folders instead of links")
    assert link.is_symlink(), "on Windows: git config core.symlinks true, then check out again"
    assert link.resolve() == ROOT / stage


def test_what_people_are_told_to_install_is_this_distribution_and_an_extra_it_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    files = [p for top in (*STAGES, "src", "docs", "docker") for p in (ROOT / top).rglob("*.*")]
    files += [ROOT / "README.md", ROOT / "pyproject.toml"]
    found = set()
    for path in files:
        if path.suffix in (".py", ".md", ".toml", ".yaml"):
            found |= set(re.findall(r"([\w-]*vad)\[([\w,]+)\]", path.read_text(encoding="utf-8")))
    assert {name for name, _ in found} == {project["name"]}
    extras = {extra for _, extras in found for extra in extras.split(",")}
    assert extras <= set(project["optional-dependencies"])


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_else(tmp_path):
    # the wheel is built from the source distribution: `build/` may hold deleted modules
    command = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    source = ROOT / "src"
    inner = (path for name in KERNEL for path in source.glob(f"vad/{name}/*.py"))
    modules = (*source.glob("vad/*.py"), *inner)
    kernel = {str(p.relative_to(source)) for p in modules} | {"vad/py.typed"}
    kinds = ("*.py", "*.css", "*.html", "*.js", "*.svg", "*.toml")
    stages = {
        f"vad/stages/{p.relative_to(ROOT)}"
        for s in STAGES
        for k in kinds
        for p in (ROOT / s).rglob(k)
    }
    assert packed == kernel | stages


def test_every_path_that_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("## Where things are")
    _, block, prose = rest.partition("## How we write")[0].split("```")
    named = {
        Path(path) for path in re.findall(r"`([\w./-]+[/.][\w./-]*)`", prose) if "vad." not in path
    }
    for line in block.strip().splitlines():
        folder, _, words = line.partition(" ")
        named.add(Path(folder))
        parts = re.findall(r"[\w/]+(?:/|\.py)", words)
        named |= {Path(p) if (ROOT / p).exists() else Path(folder, p) for p in parts}
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []
