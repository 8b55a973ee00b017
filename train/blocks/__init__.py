"""Network blocks that several published detectors share."""
