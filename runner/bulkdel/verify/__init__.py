"""`bulkdel verify`: reads the pool back. Nothing in this package can delete: it makes look-ups, and never an action."""
