"""Pictures and traces of results; matplotlib is used in `canvas` alone."""
