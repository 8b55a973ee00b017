"""Run the extraction of videos in this process, on several GPUs, or on a Ray cluster."""
