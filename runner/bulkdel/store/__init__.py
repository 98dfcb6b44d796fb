"""Objects that are created only if absent: where exports and logs lie outside of this machine."""
