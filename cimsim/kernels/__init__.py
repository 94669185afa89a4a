"""Compiled loops of the accuracy path: random numbers, converters, pulse sums, wire resistance.

Every kernel has a numpy loop of about ten lines in the tests that it must equal. Nothing here is
imported by `import cimsim`; the modules load numba when they are imported themselves.
"""
