"""`python -m fornet_keras`: the command line."""

from fornet_keras.cli import main

if __name__ == "__main__":
    main()
