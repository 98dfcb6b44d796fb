"""The engine: it knows ids, chunks, verdicts, outcomes, pace and durability, and has never heard of any one API."""
