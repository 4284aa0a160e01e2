"""Let `python -m loracast` do what `loracast` does."""

from loracast.cli import main

if __name__ == "__main__":  # a worker process imports this file too
    main()
