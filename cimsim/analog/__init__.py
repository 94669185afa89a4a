"""One weight on its tiles, as numbers: coding, crossbars, converters and their products."""
