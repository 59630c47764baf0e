"""The hands: the only room where things happen."""

if __name__ == "runtime":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.runtime")
