"""Framework-neutral modules that generated code is given verbatim copies of.

In a built folder they lie flat beside `model.py` and `train.py`; none imports another.
"""
