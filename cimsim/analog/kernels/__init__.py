"""Compiled loops of the accuracy path: random numbers, converters, pulse sums, wire resistance.

Every kernel has a numpy loop of about ten lines in the tests that it must equal. Nothing here is
imported by `import cimsim`; the modules load numba when they are imported themselves.

Compiled code is cached beside the sources where that is possible (`cimsim.runtime.jit`). Numba
renews the cache of a function when its own file changes, not when a file it inlines from does:
after an edit of `philox.py` delete the caches (`*.nbi`, `*.nbc`).
"""
