"""``python -m pfndispatchcopy``: the same program as the console script."""

from pfndispatchcopy.cli.main import console

if __name__ == "__main__":
    console()
