"""Networks of our own in plain PyTorch, with the tensor names of the published weights."""
