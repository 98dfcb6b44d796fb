"""What one chunk means to one API. May import `runner`; never the reverse."""
