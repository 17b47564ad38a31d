"""The structure of every unit, mask, module, stem and head, written once for all backends."""
