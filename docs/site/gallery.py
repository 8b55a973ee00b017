"""Make the pictures of the gallery from the folder of `vad demo`: `make gallery`.

    python docs/site/gallery.py demo docs/pictures/gallery

Reports of test videos are written anew, opened in a Chromium without a network, and photographed in
light and dark, at the widths of a desktop and of a phone. The picture of an alert is that which
`vad watch` takes of the same video.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

QUALITY = 72  # of WebP
DESKTOP, PHONE = (1180, 760), (400, 780)  # pixels


@dataclass(frozen=True)
class Shot:
    """One picture: a page in a colour scheme, from an element downwards."""

    name: str
    page: Path
    scheme: str
    size: tuple[int, int]
    from_: str = "body"  # CSS selector of the element at the upper edge
    scale: float = 0.75  # of the written picture


def main() -> None:
    """Read the arguments, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="the folder of vad demo")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        reports = score(arguments.demo, work)
        photograph(list(shots(arguments.demo, reports)), arguments.out)
        alert(arguments.demo, work, arguments.out / "alert.webp")
    for path in sorted(arguments.out.iterdir()):
        print(f"{path.stat().st_size / 1000:6.1f} kB  {path}")


def score(demo: Path, work: Path) -> Path:
    """Write the card of the run, and reports: of four test videos, of a fight, a fire and a normal
    one alone.
    """
    vad("card", demo / "runs" / "default")
    videos = demo / "data" / "videos"
    for name, chosen in (
        ("several", ["street-14", "car-park-04", "car-park-08", "corridor-10"]),
        ("fight", ["car-park-04"]),
        ("fire", ["car-park-08"]),
        ("normal", ["car-park-03"]),
    ):
        files = [next(videos.rglob(f"{video}.*")) for video in chosen]
        vad("score", *files, "--detector", demo / "runs" / "default", "--out", work / name)
    return work


def shots(demo: Path, work: Path) -> Iterator[Shot]:
    """Yield the pictures of pages."""
    several = work / "several" / "report.html"
    single = {name: next((work / name).glob("*.html")) for name in ("fight", "fire", "normal")}
    card = demo / "runs" / "default" / "model-card.html"
    for scheme in ("light", "dark"):
        yield Shot(f"several-{scheme}", several, scheme, DESKTOP)
    yield Shot("fight-light", single["fight"], "light", DESKTOP, ".controls")
    yield Shot("fire-dark", single["fire"], "dark", DESKTOP, ".controls")
    yield Shot("phone-light", several, "light", PHONE, "section.video", 1)
    yield Shot("phone-dark", single["normal"], "dark", PHONE, "section.video", 1)
    yield Shot("evaluation-dark", demo / "evaluation" / "evaluation.html", "dark", DESKTOP)
    yield Shot("card-light", card, "light", DESKTOP)


def photograph(wanted: list[Shot], out: Path) -> None:
    """Open the pages in a browser without a network, and write their pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for shot in wanted:
            width, height = shot.size
            context = browser.new_context(
                color_scheme="dark" if shot.scheme == "dark" else "light",
                viewport={"width": width, "height": height},
                offline=True,
            )
            page = context.new_page()
            page.goto(shot.page.resolve().as_uri())
            show(page, shot.from_)
            save(page.screenshot(), out / f"{shot.name}.webp", shot.scale)
            context.close()
        browser.close()


def show(page: Page, selector: str) -> None:
    """Wait until the videos show their first picture, and scroll to an element."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(1500)
    page.locator(selector).first.evaluate("element => element.scrollIntoView()")
    page.wait_for_timeout(300)


def save(png: bytes, path: Path, scale: float) -> None:
    """Write a picture as WebP."""
    with Image.open(io.BytesIO(png)) as image:
        size = (round(image.width * scale), round(image.height * scale))
        smaller = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        smaller.save(path, quality=QUALITY, method=6)


def alert(demo: Path, work: Path, path: Path) -> None:
    """Watch a test video as a camera would be watched, and write the snapshot of its alert."""
    video = next((demo / "data" / "videos").rglob("car-park-04.*")).resolve()
    run = (demo / "runs" / "default").resolve()
    (work / "cameras.toml").write_text(
        f'folder = "alerts"\n[defaults]\nrun = "{run}"\n'
        f'[cameras.car-park]\naddress = "{video}"\n[sinks.log]\ntype = "jsonl"\n'
    )
    watching = subprocess.Popen([sys.executable, "-m", "vad", "watch", "cameras.toml"], cwd=work)
    try:
        watching.wait(60)
    except subprocess.TimeoutExpired:
        watching.terminate()
        watching.wait()
    found = next(work.rglob("*.jpg"))
    with Image.open(found) as image:
        image.save(path, quality=QUALITY, method=6)


def vad(*arguments: str | Path) -> None:
    """Run a command of vad."""
    command = [sys.executable, "-m", "vad", *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ)


if __name__ == "__main__":
    main()
