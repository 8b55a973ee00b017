"""Where a run's videos are done: in this process, or on a Ray cluster."""
