"""Feature store and labels to a detector: bags, detectors, losses, fitting and metrics."""
