"""A page to look at galaxies: one HTML file that needs no network."""
