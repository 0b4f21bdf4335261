"""What the crash tests share.

::

    shim        the library that counts, fails, stops at and records system calls (shim.c)
    record      a recorded run, read back
    forks       a pool of processes that have imported everything; each piece of work runs in a fork
    settings    how much of everything: short for CI, long on request
    figures     what was run and what was caught, printed at the end
"""
