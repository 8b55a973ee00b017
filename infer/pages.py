"""Write HTML pages from the Jinja2 templates in `templates/`.

Autoescape is on, so file names, captions and other outside text cannot add HTML. Only text that
this project writes itself is marked as safe.
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
    """Write a page; if this fails, no file is left.

    The page is written piece by piece, so values may be iterators that produce large parts.
    """
    with committed(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(_template(template).generate(**values))


def render(template: str, **values: object) -> str:
    """Return a rendered template as text, for the output of a notebook."""
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
    """Return a style sheet or script from `templates/`, marked as safe."""
    return Markup(files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8").strip())


def hash_of(text: str) -> str:
    """Return the hash that allows a style sheet or script in a content security policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
