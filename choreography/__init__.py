"""The language: who says what to whom."""

if __name__ == "choreography":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.choreography")
