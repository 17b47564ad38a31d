"""Studies: the tables and figures of papers as training runs, and what came of them."""
