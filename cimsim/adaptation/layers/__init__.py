"""Torch layers of adaptations, trainable; loaded where a torch model is at hand, never before."""
