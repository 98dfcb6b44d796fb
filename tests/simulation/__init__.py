"""The real engine in virtual time, against a simulated server, network and disk, all drawn from one seed: README.md."""
