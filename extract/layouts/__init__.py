"""Features as others publish them, to and from the store.

    import_features(["UCF_Train_ten_crop_i3d/"], "features.zarr")
    export_features("features.zarr", "rtfm", "exported/")

`layout.py` holds the layouts, `importing.py` and `exporting.py` the two ways.
"""

from .exporting import export_features
from .importing import import_features
from .layout import LAYOUTS

__all__ = ["LAYOUTS", "export_features", "import_features"]
