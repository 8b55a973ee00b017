"""Captions of stored videos, and sentence embeddings of the captions.

run.py         the captioning run: which videos to process, captions, embeddings
maker.py       captions of decoded frames, by a captioner on windows of frames
from_files.py  captions that are read from files
"""
