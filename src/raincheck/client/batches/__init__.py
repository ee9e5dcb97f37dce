"""`client.batches`: many requests handed in together, their results taken as they finish."""
