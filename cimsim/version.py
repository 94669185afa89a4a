"""The version of cimsim, as reports carry it."""

VERSION = "0.1.0"
