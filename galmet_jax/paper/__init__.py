"""The paper's systems, one after another, and what is told of them."""
