"""`client.webhooks`: who is told of events, what became of telling them, and a receiver for tests."""
