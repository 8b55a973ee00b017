"""Live video as 16-frame clips: from a camera, a network stream, or a file played at camera
speed.

source.py   what the user names, and how it is opened safely reader.py   the process that reads a
source, and the parent's handle to it feed.py     the clips of a source: bounded queue, gaps,
reconnection
"""

from .feed import Clip, Event, Feed, Gap, Lost
from .reader import Opened
from .source import LiveSource, find_source

__all__ = ["Clip", "Event", "Feed", "Gap", "LiveSource", "Lost", "Opened", "find_source"]
