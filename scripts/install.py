"""Build a release of walia, install it into the Postgres of PG_CONFIG, or remove it.

`make build`, `make install` and `make uninstall`. Files go below DESTDIR, as packagers want it.
"""

import os
import sys

import environment
import postgres


def main():
    installation = postgres.Installation(os.environ.get("PG_CONFIG") or "pg_config")
    root = os.environ.get("DESTDIR", "")
    if sys.argv[1:] == ["uninstall"]:
        for path in postgres.uninstall(installation, root):
            print(f"removed {path}")
        return
    # The versions that were tested.
    library = postgres.build(installation, "release", "--locked")
    if sys.argv[1:] == ["build"]:
        print(f"built {library}")
        return
    for path in postgres.install(library, installation, root):
        print(f"installed {path}")
    print("In each database that is to have it: CREATE EXTENSION walia;")
    print("Where its columns are pgvector's: CREATE EXTENSION walia_pgvector;")


environment.main(main)
