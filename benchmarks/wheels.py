"""Collect the wheels that `vad` needs on a machine that cannot reach a package index.

    python benchmarks/wheels.py wheels/ --have packages.txt [--python 3.12] [--limit-mib 60]

packages.txt is the output of `python -m pip list --format=freeze` on that machine (versions can be
left out). On that machine, in the checkout:

    python3 -m pip install --no-index --no-deps --target site wheels/*.whl
    PYTHONPATH=src:site python3 benchmarks/gpu.py --json gpu.json

The needed packages are those that pyproject.toml requires, in the versions that are installed here.
Packages without a published wheel are built here, so they must be pure Python.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
BESIDE = ("pytest", "hypothesis")
LEFT_OUT = {"decord"}  # without it, PyAV decodes
GIVEN = (
    "torch",
    "torchvision",
    "transformers",
    "numpy",
)  # assumed to be installed on a machine with a GPU
GLIBC = range(39, 16, -1)  # minor versions of glibc for which wheels exist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--have", type=Path, help="what the machine has, as pip list prints it")
    parser.add_argument("--python", default="3.12", help="version of its Python")
    parser.add_argument("--limit-mib", type=float, default=60)
    args = parser.parse_args()
    have = closure(GIVEN)
    if args.have:
        have |= {name(line) for line in args.have.read_text().splitlines() if line.strip()}
    required = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    missing = sorted(closure([*required, *BESIDE]) - have - LEFT_OUT)
    args.folder.mkdir(parents=True, exist_ok=True)
    for package in missing:
        fetch(f"{package}=={version(package)}", args.folder, args.python)
    sizes = {wheel.name: wheel.stat().st_size / 2**20 for wheel in args.folder.glob("*.whl")}
    for wheel, mib in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{mib:8.2f} MiB  {wheel}")
    total = sum(sizes.values())
    print(f"{total:8.2f} MiB in {len(sizes)} wheels")
    if total > args.limit_mib:
        sys.exit(f"more than {args.limit_mib:g} MiB: tell with --have what the machine has already")


def closure(packages: Iterable[str]) -> set[str]:
    """Return the installed packages that these packages depend on, with the packages themselves."""
    found: set[str] = set()
    waiting = [name(package) for package in packages]
    while waiting:
        package = waiting.pop()
        try:
            lines = requires(package) or []
        except PackageNotFoundError:
            continue  # needed on other systems only
        if package in found:
            continue
        found.add(package)
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(name(requirement.name))
    return found


def name(line: str) -> str:
    """Return the normalised name of a package in a line such as `PyYAML==6.0`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>@; ]", line.strip())[0]).lower()


def fetch(requirement: str, folder: Path, python: str) -> None:
    """Download a wheel for Linux on x86-64, or build it if only sources are published."""
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in GLIBC]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    download = [*pip, "download", "--no-deps", "--only-binary=:all:", f"--python-version={python}"]
    download += ["--implementation=cp", *platforms, "--platform=manylinux2014_x86_64"]
    found = subprocess.run(
        [*download, f"--dest={folder}", requirement], check=False, stderr=subprocess.DEVNULL
    )
    if found.returncode:
        build = [*pip, "wheel", "--no-deps", f"--wheel-dir={folder}", requirement]
        subprocess.run(build, check=True)


if __name__ == "__main__":
    main()
