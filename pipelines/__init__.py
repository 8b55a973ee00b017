"""The `vad` command, and the pipelines that combine the stages."""
