"""The front of a study as a picture for paper and as a page for a browser."""
