"""Several processes of one night: the keeper of their rate, the shards of an export, the runs of a batch."""
