"""Tables of predictions: columns, values and files."""
