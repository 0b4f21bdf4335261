"""The images' health check: asks the server in the same container; exit status 0 says that it serves."""

from __future__ import annotations

import http.client
import os
import sys

PORT = int(os.environ.get("HEALTH_PORT") or os.environ.get("VDB_PORT") or "8000")
PATH = os.environ.get("HEALTH_PATH") or "/readyz"


def main() -> int:
    """Ask once."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=4)
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        body = answer.read(500).decode("utf-8", "replace")
    except OSError as error:
        body = f"no answer on port {PORT}: {error}"
        status = 0
    else:
        status = answer.status
    finally:
        connection.close()
    sys.stdout.write(body + "\n")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
