"""One file per command: its options, the call of a verb, what is printed."""
