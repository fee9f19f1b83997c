"""Downloads a sample into a staging folder."""
