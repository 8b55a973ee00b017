"""One module per command: its options, the call of a function of `vad.verbs`, and the printing."""
