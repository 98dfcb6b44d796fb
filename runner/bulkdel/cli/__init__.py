"""The command line: commands, options, config file and environment, exit codes."""
