"""The parity harness: every backend against the NumPy reference, and against every other."""
