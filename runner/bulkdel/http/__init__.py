"""From a request to a decision: one attempt, the rate limiter, sign-in, lookups."""
