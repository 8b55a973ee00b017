"""What the site shows beside the pages of docs/: the reference, and documents of other folders.

`mkdocs` calls the functions `on_...`; `mkdocstrings` uses `Settings`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
TITLES = {
    "extraction.md": "Extract features",
    "captions.md": "Caption",
    "detectors.md": "Train a detector",
    "protocol.md": "Measure",
    "scores.md": "Score",
    "cameras.md": "Cameras and alerts",
    "stream.md": "Streams, ONNX",
    "distribution.md": "Use many machines",
    "reproduce.md": "Reproduce a published row",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "commands.md": commands(),
        "python.md": functions(),
        "detectors.md": "# Detectors in Python\n\n::: vad.detectors\n",
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "responsible-use.md": (ROOT / "RESPONSIBLE_USE.md").read_text(encoding="utf-8"),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to pages of the site where there is one, and name other files in plain text."""
    uri = page.file.src_uri
    page.meta.setdefault("title", TITLES.get(uri, page.meta.get("title")))
    if page.meta["title"] is None:
        del page.meta["title"]
    if uri in ("reference/changelog.md", "reference/responsible-use.md"):
        text = re.sub(r"\]\((?!\w+:|#)", "](../../", text).replace("](../../docs/", "](../")
    up = "../../" if uri.startswith("reference/") else "../"
    for name, target in (("CHANGELOG", "changelog"), ("RESPONSIBLE_USE", "responsible-use")):
        own = "" if uri.startswith("reference/") else "reference/"
        text = text.replace(f"]({up}{name}.md", f"]({own}{target}.md")
    return re.sub(rf"\[([^\]]+)\]\({re.escape(up)}[^)]*\)", r"\1", text)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Mend what screen readers stumble over: empty heads of tables, a dialog without a name."""
    output = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", output)
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)


def commands() -> str:
    """Return the reference of all commands, made from the options that `vad --help` shows."""
    from vad.stages.pipelines.cli import app

    known = typer.main.get_command(app).commands
    importing = known["import"].commands
    all_ = {n: c for n, c in known.items() if n != "import" and not c.hidden}
    all_ |= {f"import {name}": command for name, command in importing.items()}
    parts = [
        "# Commands",
        "Every command with every option, as `vad COMMAND --help` shows them. Exit codes: 0 done; "
        "2 wrong usage; 3 done, but some videos failed; 70 internal error; 130 interrupted; 143 "
        "terminated.",
    ]
    for name, command in all_.items():
        parts += command_part(name, command)
    return "\n\n".join(parts) + "\n"


def command_part(name: str, command: Any) -> Iterator[str]:
    """Yield the heading, help and tables of options of one command."""
    says, _, examples = (command.help or "").partition("Examples:")
    yield f"## vad {name}"
    yield says.strip()
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    if lines:
        yield "```\n" + "\n".join(lines) + "\n```"
    context = command.make_context(f"vad {name}", [], resilient_parsing=True)
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or getattr(parameter, "hidden", False):
            continue
        is_argument = parameter.param_type_name == "argument"
        panel = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None)
        names, says = (escaped(" ".join(part.split())) for part in record)
        panels.setdefault(panel or "Options", []).append(f"| <code>{names}</code> | {says} |")
    for panel, rows in panels.items():
        yield "\n".join([f"| {panel} | |", "|---|---|", *rows])


def escaped(text: str) -> str:
    """Return a text in which Markdown finds no mark-up and no border of a cell."""
    return re.sub(r"[<>*_\[\]|`]", lambda found: f"&#{ord(found[0])};", text)


def functions() -> str:
    """Return the reference of the public functions and of the objects that they return."""
    import vad

    verbs = "\n\n".join(named(f"vad.verbs.{name}", f"vad.{name}") for name in vad.VERBS)
    returned = (
        "vad.store.FeatureStore",
        "vad.stages.train.run.Run",
        "vad.stages.infer.scores.VideoScores",
        "vad.stages.infer.events.Event",
        "vad.stages.infer.evaluation.result.Evaluation",
        "vad.stages.extract.outcome.Outcome",
    )
    others = "\n\n".join(
        named(f"vad.stages.train.{path}", f"vad.{path.rpartition('.')[2]}")
        for path in ("callbacks.Callback", "callbacks.Training", "dataset.BagDataset")
    )
    objects = "\n\n".join(f"::: {path}" for path in returned)
    return (
        "# Python\n\nEvery function is called as `vad.NAME(...)`. Every setting is a keyword; "
        "`None` means the default of the stage.\n\n"
        f"{verbs}\n\n## Callbacks, and a Dataset\n\n{others}"
        f"\n\n## What the functions return\n\n{objects}\n"
    )


def named(path: str, heading: str) -> str:
    """Return the directive that shows an object under a heading."""
    return f"::: {path}\n    options:\n      heading: {heading}"


class Settings(griffe.Extension):
    """Adds the settings to the docstrings of `vad.verbs`, as importing them does."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Take the docstring of the imported function, with its settings as a list."""
        if func.docstring is not None and func.canonical_path.startswith("vad.verbs."):
            says = inspect.getdoc(getattr(import_module("vad.verbs"), func.name)) or ""
            func.docstring.value = says.replace("\nSettings:", "\nOther Args:")
