"""What the documents say holds: their commands parse, their links lead somewhere, their Python is
that of the package.
"""

import ast
import functools
import importlib
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PARSER = MarkdownIt("commonmark").enable("table")


def tokens_of(page):
    """The tokens of a page, those inside of paragraphs and cells too."""
    for token in PARSER.parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def blocks_of(page):
    """Language, text and first line of every code block."""
    for token in tokens_of(page):
        if token.type in ("fence", "code_block"):
            yield token.info.strip(), token.content, token.map[0] + 1


def anchors_of(page):
    """The anchors of the headings, as GitHub makes them and the site too."""
    parsed = list(tokens_of(page))
    anchors = set(re.findall(r'<a id="([^"]+)"', page.read_text(encoding="utf-8")))
    for heading, inline in itertools.pairwise(parsed):
        if heading.type == "heading_open":
            text = "".join(c.content for c in inline.children if c.type in ("text", "code_inline"))
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            anchors.add(anchor)
    return anchors


def commands_of(page):
    """Every `vad ...` line of the code blocks, as arguments, and where it stands."""
    for language, text, first in blocks_of(page):
        if language in ("python", "toml", "json", "mermaid"):
            continue
        joined = re.sub(r"\\\n\s*", " ", text)
        for number, line in enumerate(joined.splitlines(), first + 1):
            found = re.match(r"(?:[$>] )?(?:[A-Z_]+=\S+ )*vad (?! )(.+)", line.strip())
            if found:
                words = shlex.split(found[1].replace(r"\'", ""), comments=True)
                end = next((i for i, w in enumerate(words) if w in ("|", ">", "&&")), len(words))
                yield words[:end], f"{page.relative_to(ROOT)}:{number}"


@functools.cache
def commands():
    """The commands of `vad` by name, `import features` among them."""
    from vad.stages.pipelines.cli import app

    known = dict(typer.main.get_command(app).commands)
    importing = known.pop("import").commands
    return known | {f"import {name}": command for name, command in importing.items()}


def parse(words):
    """Parse the arguments of `vad` as it would, without running anything."""
    n_words = 2 if words[0] == "import" else 1
    name = " ".join(words[:n_words])
    if name not in commands():
        raise LookupError(f"no such command: {name}")
    commands()[name].make_context(name, words[n_words:])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_in_a_code_block_is_one_that_vad_takes(page):
    wrong = []
    for words, where in commands_of(page):
        try:
            parse(words)
        except Exception as error:
            wrong.append(f"{where}: vad {shlex.join(words)}: {getattr(error, 'message', error)}")
    assert wrong == []


def test_a_wrong_option_in_a_document_would_be_found():
    for words in (["score", "new.mp4", "--tresh", "1"], ["scor"], ["train", "--epochs", "many"]):
        with pytest.raises(Exception, match=r"(?i)no such|valid integer"):
            parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_option_that_the_text_names_beside_its_command_exists(page):
    wrong = []
    for token in tokens_of(page):
        found = re.match(r"vad ((?:import )?[a-z]+)\b(.*)", token.content)
        if token.type != "code_inline" or not found or found[1] == "import":
            continue
        if found[1] not in commands():
            wrong.append(token.content)
            continue
        known = {name for p in commands()[found[1]].params for name in p.opts} | {"--help"}
        wrong += [token.content for o in re.findall(r"(?<!\S)--[\w-]+", found[2]) if o not in known]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_relative_link_and_anchor_leads_somewhere(page):
    wrong = []
    for token in tokens_of(page):
        target = token.attrGet("href") or token.attrGet("src")
        if not target or re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        generated = "reference" in Path(path).parts  # written when the site is built
        if not generated and (not file.exists() or (anchor and anchor not in anchors_of(file))):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_python_block_compiles_and_calls_what_there_is(page):
    wrong = []
    for language, text, first in blocks_of(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            try:
                check(node)
            except (AttributeError, ImportError, TypeError) as error:
                wrong.append(f"line {first + node.lineno}: {error}")
    assert wrong == []


def check(node):
    """Raise unless a node's imports of `vad`, its names `vad.x` and its calls of them are right."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vad":
        module = importlib.import_module(node.module)
        for alias in node.names:
            getattr(module, alias.name)
    elif isinstance(node, ast.Attribute):
        resolve(node)
    elif isinstance(node, ast.Call) and isinstance(function := resolve(node.func), type(check)):
        keywords = {k.arg: None for k in node.keywords if k.arg}
        inspect.signature(function).bind_partial(*node.args, **keywords)


def resolve(node):
    """The object that `vad.x.y` names; None for any other expression."""
    if isinstance(node, ast.Name):
        return importlib.import_module("vad") if node.id == "vad" else None
    owner = resolve(node.value) if isinstance(node, ast.Attribute) else None
    if owner is None or not (inspect.ismodule(owner) or inspect.isclass(owner)):
        return None
    return getattr(owner, node.attr)


@pytest.mark.parametrize(
    "text", ["vad.scor('a.mp4')", "vad.score('a.mp4', treshold=1)", "vad.detectors.Rtfm"]
)
def test_a_wrong_name_or_keyword_in_a_document_would_be_found(text):
    expression = ast.parse(text).body[0].value
    with pytest.raises((AttributeError, TypeError)):
        check(expression)


def test_the_page_of_licences_has_every_weight_with_its_licence():
    from vad.stages.extract.weights.catalogue import catalogue

    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    for name, entry in catalogue().items():
        (row,) = [row for row in rows if f"`{name}`" in row[0]]
        licence, *_ = entry.weights.licence.split(" (")
        assert row[2] == licence
        assert (row[3] == "**no**") == ("no commercial use" in entry.weights.licence)


def test_the_citation_is_of_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_figures_of_the_readme_are_those_of_the_page_of_figures():
    readme, page = (
        {line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")}
        for path in (ROOT / "README.md", ROOT / "docs" / "figures.md")
    )
    assert len({row for row in readme & page if "(0.0" in row}) == 4


def test_issue_templates_are_forms():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= form.keys(), path


NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stored_without_outputs_and_call_what_there_is(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                check(node)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that run notebooks
def test_notebooks_run_from_the_first_to_the_last_cell(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="pip install -e .[docs]")
    nbformat = pytest.importorskip("nbformat", reason="pip install -e .[docs]")
    pytest.importorskip("ipykernel", reason="pip install -e .[docs]")
    for path in NOTEBOOKS:
        notebook = nbformat.reads(
            path.read_text(encoding="utf-8").replace("n_videos=20", "n_videos=10"), as_version=4
        )
        where = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    assert (tmp_path / "scores" / "report.html").exists() or any(tmp_path.glob("scores/*.html"))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install -e .[docs]")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path,
    ]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'(?:src|<link[^>]*href)="?https?://[^">]*', text) == []
    reference = (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")
    assert "largest frame that is decoded" in reference  # a setting of vad.extract
    commands = (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "--merge-gap" in commands


LEFT_OUT = {
    "demo": "50 videos; the others are made of its videos",
    "watch cameras.toml": "it watches until it is stopped",
    "watch cameras.toml --test-alert": "it calls an address of the example",
}
FAILING = {
    "score new.mp4 --false-alarms 2/h --prior 0.05": "tell no rate below",
    "watch cameras.toml --check": "tell no rate below",  # the footage of the test is short
}  # as the tutorial says


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run_one_after_the_other(vad, tmp_path, monkeypatch):
    from vad.stages.pipelines.demo.videos import render_demo

    monkeypatch.chdir(tmp_path)
    for name in ("GATE_USER", "GATE_PASSWORD", "HOOK_TOKEN"):
        monkeypatch.setenv(name, "x")
    data = render_demo(tmp_path / "data", n_videos=10, quiet=True)
    rows = [line.split(",") for line in data.labels.read_text().splitlines()[1:]]
    for video, _, kind, _ in rows:
        folder = tmp_path / "videos" / kind
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(data.videos / f"{video}.mp4", folder)
    (tmp_path / "gate").mkdir()
    days = ("monday", "tuesday", "wednesday", "thursday", "friday")
    for day, video in zip(days, (v for v, label, *_ in rows if label == "0"), strict=True):
        shutil.copy(data.videos / f"{video}.mp4", tmp_path / "gate" / f"{day}.mp4")
    shutil.copy(data.videos / f"{rows[0][0]}.mp4", tmp_path / "new.mp4")
    page = ROOT / "docs" / "tutorial.md"
    (toml,) = [text for language, text, _ in blocks_of(page) if language == "toml"]
    (tmp_path / "cameras.toml").write_text(toml)
    done = []
    for words, where in commands_of(page):
        line = " ".join(words)
        if line in LEFT_OUT:
            continue
        code, _, err = vad(*words)
        if line in FAILING:
            assert (code, FAILING[line] in err) == (2, True), (where, err)
        else:
            assert code == 0, (where, line, err)
        done.append(words[0])
    assert done[:3] == ["extract", "train", "score"]
    assert {"events", "calibrate", "stream", "watch"} <= set(done)
