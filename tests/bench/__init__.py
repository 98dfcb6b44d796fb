"""`make bench`: how fast the real command is, against the bare loop it is built on and against the vendor's SDK."""
