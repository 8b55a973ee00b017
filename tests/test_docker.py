"""The container files: read as a build would read them, and their first stage replayed."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
KNOWN = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "HEALTHCHECK", "RUN", "USER", "VOLUME"),
    "WORKDIR",
}


def instructions():
    """Every instruction of the Dockerfile: its stage, name and arguments."""
    text = (ROOT / "docker" / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    stage = ""
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stage = rest.rpartition(" AS ")[2]
        yield stage, name, rest.strip()


def of(stage, name):
    return [rest for s, n, rest in instructions() if (s, n) == (stage, name)]


def test_every_instruction_is_known_and_every_copied_file_is_there():
    for stage, name, rest in instructions():
        assert name in KNOWN, (stage, name)
        if name == "COPY":
            *sources, _ = shlex.split(rest)
            assert all((ROOT / source).exists() for source in sources), rest


def test_stages_build_on_each_other():
    froms = [rest for _, name, rest in instructions() if name == "FROM"]
    assert froms == [
        "${PYTHON_IMAGE} AS wheel",
        "${PYTHON_IMAGE} AS base",
        "base AS cpu",
        "base AS cuda",
    ]
    assert of("", "ARG") == ["PYTHON_IMAGE=python:3.11-slim-bookworm"]


@pytest.mark.parametrize("image", ["cpu", "cuda"])
def test_images_run_as_nobody_special_and_tell_whether_they_work(image):
    names = [name for stage, name, _ in instructions() if stage == image]
    assert names[-1] == "USER"  # nothing is done as root after it, and nothing undoes it
    assert of(image, "USER") == ["vad"]
    assert len(of("base", "HEALTHCHECK")) == 1
    assert of("base", "VOLUME") == ["/models"]
    assert "VAD_CACHE=/models/vad" in of("base", "ENV")[0]
    (run,) = of(image, "RUN")
    assert "--require-hashes" in run
    assert "-r /etc/vad/lock.txt" in run
    assert run.endswith("&& pip check")
    installs = re.findall(r"pip install (.*?)(?:&&|$)", run)
    assert all("--no-deps" in install for install in installs)  # nothing beside the lock
    is_cpu = image == "cpu"
    assert ("download.pytorch.org/whl/cpu" in run) == is_cpu
    assert ("-r /etc/vad/lock-torch.txt" in run) != is_cpu


def test_no_secret_is_built_in_and_none_is_sent_to_the_builder():
    for _, name, rest in instructions():
        if name in ("ARG", "ENV"):
            assert not re.search(r"(TOKEN|PASSWORD|SECRET|KEY)\w*=", rest), rest
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "docker/ray_token", ".env"} <= set(ignored)
    assert "docker/ray_token" in (ROOT / ".gitignore").read_text().split()


def test_every_dependency_is_pinned_to_a_version_that_fits():
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["offline"]]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def locked(name):
    """The versions of a lock file, and the number of checksums of each."""
    text = (ROOT / "docker" / name).read_text()
    found = re.findall(
        r"^([a-z0-9._-]+)==([^ ;\n]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}.*)+)", text, re.M
    )
    assert len(found) == len(re.findall(r"^\S", text, re.M)), "a line is no pinned package"
    return {canonicalize_name(n): (version, hashes.count("--hash")) for n, version, hashes in found}


def test_the_locks_hold_every_dependency_with_checksums_and_torch_apart():
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    both, torch = locked("lock.txt"), locked("lock-torch.txt")
    assert not both.keys() & torch.keys()
    assert {"torch", "torchvision", "triton"} <= torch.keys()
    assert not any(name.startswith(("torch", "nvidia", "triton")) for name in both)
    every = both | torch
    assert all(n_hashes > 0 for _, n_hashes in every.values())
    assert {n: v for n, (v, _) in every.items() if pins.get(n, v) != v} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["offline"], *extras["ray"], *extras["watch"]]
    for requirement in map(Requirement, wanted):
        version, _ = every[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: make lock"
    for name in ("lock.txt", "lock-torch.txt"):
        assert "://" not in (ROOT / "docker" / name).read_text()  # no address of an index


def test_the_examples_of_vad_watch_run_as_nobody_special_and_restart():
    service = yaml.safe_load((ROOT / "docker" / "watch.yaml").read_text())["services"]["watch"]
    assert service["command"] == ["watch", "cameras.toml"]
    assert service["user"] == "1000:1000"
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str
    unit.read_string((ROOT / "docker" / "watch.service").read_text())
    assert unit["Service"]["ExecStart"].endswith("vad watch cameras.toml")
    assert unit["Service"]["SuccessExitStatus"] == "143"  # of SIGTERM, by pipelines/cli.py
    assert (unit["Service"]["User"], unit["Service"]["Restart"]) == ("vad", "always")


def test_the_cluster_needs_a_token_and_shows_nothing_to_the_outside():
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    assert compose["secrets"] == {"ray_token": {"file": "./ray_token"}}
    assert set(compose["services"]) == {"head", "worker"}
    for service in compose["services"].values():
        assert service["image"] == "${VAD_IMAGE:-vad:cpu}"
        assert service["user"] == "1000:1000"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "ports" not in service
        assert service["secrets"] == ["ray_token"]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "models:/models" in service["volumes"]
        assert service["entrypoint"][:2] == ["ray", "start"]
        assert service["healthcheck"]["test"][:3] == ["CMD", "ray", "health-check"]
    head, worker = compose["services"]["head"], compose["services"]["worker"]
    assert "--head" in head["entrypoint"]
    assert "--port=6379" in head["entrypoint"]
    assert "--address=head:6379" in worker["entrypoint"]


@pytest.mark.slow
def test_the_wheel_of_the_first_stage_is_whole(tmp_path):
    """Its steps replayed: the files copied, the wheel built, installed alone and asked."""
    build, wheels, installed = (tmp_path / name for name in ("build", "wheels", "installed"))
    build.mkdir()
    for rest in of("wheel", "COPY"):
        *sources, target = shlex.split(rest)
        for source in sources:
            if (ROOT / source).is_dir():
                hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / source, build / target, symlinks=True, ignore=hidden)
            else:
                shutil.copy(ROOT / source, build)
    (command,) = of("wheel", "RUN")
    command = command.replace("/wheels", str(wheels)).replace("pip ", "-m pip ", 1)
    subprocess.run([sys.executable, *shlex.split(command)], cwd=build, check=True)
    (wheel,) = wheels.glob("wsvad-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for stage in ("extract", "train", "infer", "pipelines"):
        for path in (ROOT / stage).rglob("*.py"):
            assert f"vad/stages/{path.relative_to(ROOT)}" in names
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", installed, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import vad; print(vad.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code, installed], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(installed))
