"""HDF5 caches: the files that one step hands to the next."""
