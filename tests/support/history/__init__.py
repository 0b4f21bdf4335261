"""Histories of concurrent clients: what they asked, what they were answered, and whether one library explains it.

::

    operations   what clients ask: writes and reads, as plain records
    model        a library that does one write after the other: the specification
    events       who asked what when, and what came back
    http_side    asks a server                        service_side   asks the services in process
    workload     random operations that meet each other
    checker      is there an order of the writes, and a moment for each read, that explains every answer?
    settling     the same after a crash, where some answers are missing
"""

from __future__ import annotations
