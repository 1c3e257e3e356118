"""``python -m sparsebench`` is the command ``sparsebench``."""

from sparsebench.cli.app import main

if __name__ == "__main__":
    main()
