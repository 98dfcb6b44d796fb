"""The report of one or several runs, made from their logs. Nothing in it can send a request."""
