"""Files made of the pictures of scored videos: overlays, clips of events, copies for the report."""
