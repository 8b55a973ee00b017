"""A local page on which a person drops a video and reads its report.

jobs.py      videos that wait, are scored, and were scored
server.py    the page's addresses, and who may use them
answers.py   what goes back to the browser: pages, and files in parts
page.*       the page
"""

from .server import serve

__all__ = ["serve"]
