"""Every row of a run, as the preflight has read it: its format, a writer, a reader."""
