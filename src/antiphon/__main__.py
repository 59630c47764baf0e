"""``python -m antiphon``: the command line where no script is installed, or another environment's comes first."""

from antiphon.app.cli import main

main()
