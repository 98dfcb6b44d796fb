"""Random campaigns, mutants and the soak."""
