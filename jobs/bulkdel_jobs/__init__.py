"""What one chunk means to one API. May import `bulkdel`, which never imports this."""
