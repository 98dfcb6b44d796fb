"""The archive of a hand-over: a tar of plain files, compressed, with its manifest first."""
