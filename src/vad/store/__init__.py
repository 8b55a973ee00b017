"""The feature store: extraction writes it, and every later stage reads it.

store.py       FeatureStore: list, read and check stored videos
draft.py       Draft: write a video
arrays.py      write arrays in chunks, and compute their checksums
metadata.py    zarr.json files, and their checksums
reading.py     read one video, and compare it with its checksums
verify.py      compare a whole store with its checksums; `vad verify`
backends/      where a store is kept: a folder or a bucket
"""

from ..names import key_of as key_of
from .draft import Draft as Draft
from .metadata import INFORMATION as INFORMATION
from .metadata import ArrayInfo as ArrayInfo
from .metadata import Provenance as Provenance
from .metadata import VideoRecord as VideoRecord
from .metadata import differences as differences
from .store import ARRAYS_AT_ONCE as ARRAYS_AT_ONCE
from .store import FeatureStore as FeatureStore
