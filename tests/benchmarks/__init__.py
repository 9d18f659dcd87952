"""What does it cost? Run by `make bench` and `make synthetic`, never by `make test`."""
