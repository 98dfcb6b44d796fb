"""Where a run keeps its log: a file, or objects in a store."""
