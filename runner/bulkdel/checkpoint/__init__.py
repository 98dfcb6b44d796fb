"""The write-ahead log: one writer, replay, damage, and the index from row number to entry."""
