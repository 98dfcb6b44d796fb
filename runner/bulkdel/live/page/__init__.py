"""The live page of a run: its files, its server, its metrics. Loaded only with `--listen`."""
