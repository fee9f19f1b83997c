"""Galaxies from the TFDS data set to the batches of a step."""
