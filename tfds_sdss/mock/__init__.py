"""Mock galaxies: a population and its images."""
