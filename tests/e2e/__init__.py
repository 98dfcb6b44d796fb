"""The real command against a real server."""
