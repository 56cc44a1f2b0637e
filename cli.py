"""The command line from a checkout: `python cli.py --help`. Installed, the same command is `fornet`."""

from fornet_keras.cli import main

if __name__ == "__main__":
    main("python cli.py")
