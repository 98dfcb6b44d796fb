"""`bulkdel job new` and `bulkdel job check`: what the author of a job needs. Knows no job by name."""
