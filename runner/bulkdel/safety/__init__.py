"""Everything before the first deletion: the arguments, the checks, exclude files, the plan, the confirmation."""
