"""The pure core: records, outcomes, policy, ranges, log entries, progress.

Nothing in here awaits, sleeps, reads a clock, rolls dice, opens a file or a socket, or logs. It decides and returns;
the shell around it acts. import-linter holds the rule.
"""
