"""TensorFlow modules that generated code is given verbatim copies of."""
