"""Measures each speed goal against its baseline in the same run: `python -m bench [--only NAME] [--quick]`."""
