"""How fast the package is: every item against a peer or the plain way, in the same run."""
