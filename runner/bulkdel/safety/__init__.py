"""Everything before the first id is sent: the arguments, the checks, exclude files, the plan, the confirmation."""
