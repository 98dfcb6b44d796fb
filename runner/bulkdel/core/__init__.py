"""The pure core: records, outcomes, policy, ranges, log entries, progress.

Nothing here awaits, reads a clock, draws a random number, opens a file or a socket, or logs. It decides and returns,
and the other folders act. import-linter checks the rule.
"""
