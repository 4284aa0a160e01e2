"""The one training loop: adapters, networks from scratch and nano models all go through `fit.fit`."""
