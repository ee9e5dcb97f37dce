"""The engine: free places to claims, claims to attempts, attempts to outcomes."""
