"""From the graph to readable code: classes, names, statements, files."""
