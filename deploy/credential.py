"""git's helper in the clone that worker.sh makes: tells name and password in $SCN_REPOSITORY to that host alone.

So no command, whose words every process sees, and no file has to hold them.
"""

import os
import sys
from urllib.parse import unquote, urlsplit

repository = urlsplit(os.environ.get("SCN_REPOSITORY", ""))
asked = dict(line.rstrip("\n").partition("=")[::2] for line in sys.stdin)
host = {"protocol": repository.scheme, "host": repository.netloc.rpartition("@")[2]}
if sys.argv[1:] == ["get"] and repository.username and host.items() <= asked.items():
    print(f"username={unquote(repository.username)}\npassword={unquote(repository.password or '')}")
