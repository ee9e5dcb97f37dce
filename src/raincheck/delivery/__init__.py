"""Takes events out of the outbox and tells those who want to know: message, signature, one attempt, the next."""
