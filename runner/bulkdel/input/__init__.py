"""Every row of a run, as the preflight has read it. After the header of the log nothing else is read of the export."""
