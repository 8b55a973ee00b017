"""From raw video to a feature store: decoding, clips, crops and backbones."""
