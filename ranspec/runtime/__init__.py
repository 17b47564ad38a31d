"""Framework-neutral modules that generated code is given copies of.

In a built folder they lie flat beside `model.py` and `train.py`, and import one another without
this package's name. No two import each other.
"""
