"""Random campaigns, end to end: what is drawn from a seed, how it is played, and how its end is judged.

A campaign is an export, a server with faults, and several sessions of the real command: killed, stopped, paused,
limited, with accounts that are created again and exclude files that are added in between. At its end the faults are
switched off, the run is brought to its end, and every row is held against the server's own count.

Everything is drawn from the seed before anything starts. What is not drawn is time: on which request a signal falls.
"""
