"""The benchmarks: namedipc beside its peers, in one and the same run.

    namedipc bench                        namedipc alone, in less than a minute
    namedipc bench --compare              beside everybody who is installed: ratios, and what is demanded of them
    namedipc bench --row call --compare   one row
    python -m benchmarks.hostile          what a well-behaved client notices of each kind of bad one

The law: of namedipc only the public surface is used, but by `hostile`, which has to break its protocol; and a peer is
imported only in the processes which run it. From
the top down: `command` is the command line, `goals` says what is demanded of which figures, `runner` measures them
in interleaved rounds, `processes` is one process of a contender seen from outside and `sides` seen from inside,
`works` lists what there is to do and who does it, `peers` is how each of them does it, `figures` is arithmetic.
"""
