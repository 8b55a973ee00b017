"""The `vad` command and the pipelines that join the stages."""
