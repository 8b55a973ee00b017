"""Raw video to feature store: decoding, clips, crops and backbones."""
