"""`python -m vad`."""

from vad.pipelines.cli import main

main()
