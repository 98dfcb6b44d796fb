"""One module a command: the order of its steps."""
