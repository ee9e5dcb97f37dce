"""The front desk: who asks, what is accepted, and how a request is read again. It knows no wire format."""
