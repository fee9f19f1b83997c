"""The galaxies: mock and SDSS images with metallicities, as a TFDS set."""
