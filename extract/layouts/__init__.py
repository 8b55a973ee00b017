"""Import published features into a store, and export a store's features for other projects.

    import_features(["UCF_Train_ten_crop_i3d/"], "features.zarr")
    export_features("features.zarr", "rtfm", "exported/")

`layout.py` holds the layouts (file names and array shapes) of other projects.
"""

from .exporting import export_features
from .importing import import_features
from .layout import LAYOUTS

__all__ = ["LAYOUTS", "export_features", "import_features"]
