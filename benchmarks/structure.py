"""Count the code: files, lines, types, shapes in docstrings, and the files that a video enters.

    python benchmarks/structure.py --json FILE
    python benchmarks/structure.py --root OLD_CHECKOUT --json FILE

The figures are counted from the files without importing them, so that other versions of the project
can be counted, too. For the last three, small videos are rendered, and the commands run in
processes that record each file of the project in which a function was called. Code that runs only
while a module is imported does not count.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("extract", "train", "infer", "pipelines", "src/vad")
TENSOR = re.compile(r"\b(Tensor|NDArray|ndarray|ArrayLike|Floats|Bools)\b")
SHAPE = re.compile(r"\[(?!\d+\])[\w ,*/+.-]+\]")  # such as [snippets, dim], [..., 3] or [n]
N_VIDEOS, N_FRAMES, SIDE = 6, 40, 64

# Run at the start of every Python process: it records the files in which functions are called.
TRACER = """
import os, sys, threading

root, log, seen = os.environ["TRACED_ROOT"], os.environ["TRACED_LOG"], set()

def is_importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(root):
            return not frame.f_code.co_filename.endswith("__main__.py")
        frame = frame.f_back
    return False

def on_call(frame, event, argument):
    code = frame.f_code
    name = code.co_filename
    if name in seen or not name.startswith(root) or code.co_name == "<module>":
        return
    if code.co_flags & 2 and not is_importing(frame):  # 2: a function, no class body
        seen.add(name)
        with open(log, "a") as file:
            file.write(os.path.realpath(name) + "\\n")

threading.settrace(on_call)
sys.settrace(on_call)
"""


@dataclass(frozen=True)
class Structure:
    """The figures of one checkout."""

    n_files: int
    n_lines: int
    median_lines: float  # median lines of a file
    longest_lines: int
    n_any: int  # uses of `Any` outside import statements
    n_tensor_functions: int  # public functions that take or return tensors or arrays
    shapes_told_percent: float  # share of these whose docstrings state a shape
    files_extract: list[str]  # files with a function that runs when one video is extracted,
    files_train: list[str]  # ... when one run is trained,
    files_score: list[str]  # ... when one video is scored to report.html


def main() -> None:
    """Count, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to count")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    figures = asdict(count(given.root.resolve()))
    for name, value in figures.items():
        print(f"{name:24}{len(value) if isinstance(value, list) else value:>10g}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


def count(root: Path) -> Structure:
    """Return all figures of a checkout."""
    texts = [path.read_text(encoding="utf-8") for path in files_of(root)]
    lengths = [text.count("\n") for text in texts]
    told = [tells for text in texts for tells in shapes_told(ast.parse(text))]
    with tempfile.TemporaryDirectory() as folder:
        extracted, trained, scored = run_commands(root, Path(folder))
    return Structure(
        n_files=len(texts),
        n_lines=sum(lengths),
        median_lines=statistics.median(lengths),
        longest_lines=max(lengths),
        n_any=sum(map(n_any, texts)),
        n_tensor_functions=len(told),
        shapes_told_percent=round(100 * sum(told) / len(told), 1),
        files_extract=extracted,
        files_train=trained,
        files_score=scored,
    )


def files_of(root: Path) -> list[Path]:
    """Return the Python files of the package, each once: links to folders are not followed."""
    return [
        Path(folder, name)
        for top in FOLDERS
        for folder, _, names in os.walk(root / top)
        for name in sorted(names)
        if name.endswith(".py")
    ]


def n_any(text: str) -> int:
    """Return how often a file uses `Any` outside its import statements."""
    imports = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom))
    skipped = {line for n in imports for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(len(re.findall(r"\bAny\b", line)) for n, line in lines if n not in skipped)


def shapes_told(tree: ast.Module) -> Iterator[bool]:
    """Yield, for every public function with tensors, True if its docstring states a shape.

    For a method, the docstring of its class counts as well.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            above = ast.get_docstring(node) or ""
            for inner in node.body:
                yield from _told(inner, above)
        yield from _told(node, "")


def _told(node: ast.stmt, above: str) -> Iterator[bool]:
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
        return
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [a.annotation for a in arguments] + [node.returns]
    if TENSOR.search(" ".join(ast.unparse(a) for a in annotations if a is not None)):
        yield bool(SHAPE.search(f"{above} {ast.get_docstring(node) or ''}"))


def run_commands(root: Path, folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the files in which functions run when a video is extracted, a run trained, a video
    scored.
    """
    videos = render(folder / "videos")
    rows = "".join(f"{path.stem},{i % 2}\n" for i, path in enumerate(videos))
    (folder / "labels.csv").write_text(f"video,label\n{rows}")
    (folder / "start").mkdir()
    (folder / "start" / "sitecustomize.py").write_text(TRACER)

    def files_run(*command: str) -> list[str]:
        log = folder / f"{command[0]}.log"
        log.touch()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder / "start"), str(root / "src")]),
            "TRACED_ROOT": str(root),
            "TRACED_LOG": str(log),
            "OMP_NUM_THREADS": "1",
        }
        called = [sys.executable, "-m", "vad", *command]
        subprocess.run(called, cwd=folder, env=environment, check=True, stdout=sys.stderr)
        ours = {str(path) for path in files_of(root)}  # an environment may lie in the checkout
        names = ours & set(log.read_text().splitlines())
        return sorted(str(Path(name).relative_to(root)) for name in names)

    extracted = files_run("extract", f"videos/{videos[0].name}")
    files_run("extract", "videos/")
    trained = files_run(
        *(
            "train",
            "features.zarr",
            "--labels",
            "labels.csv",
            "--detector",
            "rtfm",
            "--out",
            "runs/rtfm",
        ),
        *("--set", "epochs=1"),
    )
    scored = files_run(
        *("score", f"videos/{videos[1].name}", "--detector", "runs/rtfm", "--format", "html"),
    )
    return extracted, trained, scored


def render(folder: Path) -> list[Path]:
    """Write small videos in which a bright square moves over a dark background."""
    folder.mkdir()
    paths = [folder / f"v{i}.mp4" for i in range(N_VIDEOS)]
    for i, path in enumerate(paths):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
            for t in range(N_FRAMES):
                image = np.full((SIDE, SIDE, 3), 30 + i, np.uint8)
                left = (2 + i) * t % (SIDE - 16)
                image[20:36, left : left + 16] = 220
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode())
    return paths


if __name__ == "__main__":
    main()
