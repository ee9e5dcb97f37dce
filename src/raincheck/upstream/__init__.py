"""The wire to those who do the work: one module per kind of upstream, all behind `protocol.Upstream`."""
