"""Pictures of what a network computes, by the NumPy reference and without a framework."""
