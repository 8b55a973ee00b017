"""Captions of stored videos, and embeddings of them.

run.py         the whole run: which videos are to do, captions, embeddings
maker.py       captions of frames: windows, and a captioner
from_files.py  captions that were made elsewhere
"""
