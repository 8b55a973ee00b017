"""Check 19: a store of every schema that was ever released is kept here, and can be opened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError
from vad.store import FeatureStore
from vad.store.verify import verify

STORES = Path(__file__).parent / "stores"


def test_check_19_a_store_of_schema_1_reads_as_it_was_written(tmp_path):
    path = shutil.copytree(STORES / "schema-1", tmp_path / "f.zarr")
    store = FeatureStore.open(path)
    assert store.ids() == ["a", "cam 1/b"]
    for video, first in (("a", 0), ("cam 1/b", 100)):  # three snippets, two crops, four numbers
        numbers = np.arange(first, first + 24, dtype=np.float16).reshape(3, 2, 4)
        assert np.array_equal(store.read(video, "visual/i3d"), numbers)
        assert store.read(video, "captions/git").tolist() == ["a man walks", "", "caf\u00e9"]
        assert np.array_equal(store.times(video), np.arange(40) / 25)
        assert store.record(video).n_frames == 40
        assert store.info(video, "visual/i3d").provenance.document == {"backbone": "i3d"}
    assert verify(path, quiet=True).faults == []


@pytest.mark.parametrize("schema", [0, 2, "1"])
def test_check_19_another_schema_is_refused_with_a_way_out(tmp_path, schema):
    path = shutil.copytree(STORES / "schema-1", tmp_path / "f.zarr")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["vad"]["schema"] = schema
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=f"has schema {schema}, this vad reads schema 1; use the"):
        FeatureStore.open(path)
