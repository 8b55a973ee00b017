"""Live pictures: a camera, a network stream, or a file played like one, as 16-frame clips.

source.py   what the user names, and the safe way to open it
reader.py   the process that reads it, and how it is talked to
feed.py     clips from it: the bounded queue, gaps, reconnection
"""

from .feed import Clip, Event, Feed, Gap, Lost
from .reader import Opened
from .source import LiveSource, find_source

__all__ = ["Clip", "Event", "Feed", "Gap", "LiveSource", "Lost", "Opened", "find_source"]
