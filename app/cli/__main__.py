"""``python -m antiphon.app.cli``: the command line where no script is installed."""

from . import main

main()
