"""Several processes at a time: the keeper of their rate, the shards of an export, the runs of a batch."""
