"""The TFDS data set `sdss_metallicity`."""
