"""Parts together, against real sockets and files."""
