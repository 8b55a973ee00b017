"""One file a command: options, a call, what is printed."""
