"""Run the command line as `python -m vad`."""

from vad.stages.pipelines.cli import main

main()
