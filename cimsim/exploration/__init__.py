"""Design-space exploration: spaces of settings, their points, and rows that are never lost."""
