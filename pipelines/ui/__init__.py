"""A local web page: a person drops a video onto it and reads the report.

jobs.py      the queue of videos, scored one after the other
server.py    the addresses of the page, and who may use them
answers.py   the HTTP answers: pages, JSON, and files in parts
page.*       the page
"""

from .server import serve

__all__ = ["serve"]
