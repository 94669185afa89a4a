"""Studies of one part: a layer, a crossbar, a pipeline."""
