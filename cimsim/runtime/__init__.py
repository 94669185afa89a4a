"""The process: compiled code and where it is kept, and worker processes."""
