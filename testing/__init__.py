"""The workshop, shipped: virtual clocks, strategies and contract suites."""

if __name__ == "testing":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.testing")
