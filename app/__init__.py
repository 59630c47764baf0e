"""The front doors: the embedding façade, the command line, the importers."""

if __name__ == "app":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.app")
