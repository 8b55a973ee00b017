"""The feature store: what extraction writes and every later stage reads.

store.py       FeatureStore: list, read and check stored videos
draft.py       a video that is being written
arrays.py      arrays as chunks, and their checksums
metadata.py    zarr.json files, and their checksums
verify.py      compare a whole store with its checksums; `vad verify`
backends/      where a store lies: a folder or a bucket
"""

from ..names import key_of as key_of
from .draft import Draft as Draft
from .metadata import INFORMATION as INFORMATION
from .metadata import ArrayInfo as ArrayInfo
from .metadata import VideoRecord as VideoRecord
from .metadata import differences as differences
from .store import ARRAYS_AT_ONCE as ARRAYS_AT_ONCE
from .store import FeatureStore as FeatureStore
