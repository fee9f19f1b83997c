"""From the TFDS data set to training and evaluation batches."""
