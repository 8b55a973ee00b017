"""HTML pages from the templates beside this file, by Jinja2.

Autoescape is on: whatever comes from outside, a name or a caption, stays text. Only what this
project writes itself is marked as safe.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from vad.files import committed
from vad.version import VERSION

from .times import clock

TEMPLATES = "templates"


def write_page(path: Path, template: str, **values: object) -> None:
    """Write a page whole or not at all. It is written as it is made, so values may be iterators."""
    with committed(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(_template(template).generate(**values))


def render(template: str, **values: object) -> str:
    """A part of a page, for a notebook."""
    return _template(template).render(**values)


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"clock": clock, "base64": _base64}
    environment.globals |= {"version": VERSION}
    return environment.get_template(name)


def resource(name: str) -> Markup:
    """A style sheet or a script of ours, to be put into a page as it is."""
    return Markup(files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8").strip())


def hash_of(text: str) -> str:
    """The hash by which a content security policy allows a style sheet or a script of the page."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
