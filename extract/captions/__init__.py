"""Captions of stored videos, and embeddings of them.

run.py       the whole: which videos are to do, captions, embeddings
caption_run.py  captions from frames: decoders, a captioner, the store
windows.py   the frames that a captioner looks at
reading.py   captions from a file
"""

from .run import caption

__all__ = ["caption"]
