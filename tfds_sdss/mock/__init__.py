"""Mock galaxies: catalogue and images."""
