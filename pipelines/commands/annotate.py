"""`vad annotate`: the page on which videos are labelled."""

from __future__ import annotations

from pathlib import Path

from .ui import Host, Port, Project, Public, serve_page


def command(
    project: Project = Path(),
    host: Host = "127.0.0.1",
    port: Port = 8765,
    public: Public = "",
) -> None:
    """Label the videos of a project on a page; it writes labels.csv. Ctrl-C ends it.

    Examples:

    vad annotate

    vad annotate entrance/ --port 0
    """
    serve_page(project, host=host, port=port, public=public, only_labels=True)
