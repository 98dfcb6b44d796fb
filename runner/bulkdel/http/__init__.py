"""From a request to a decision: admission, the rate limiter, one attempt, look-ups."""
