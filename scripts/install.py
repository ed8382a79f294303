"""Build a release of walia and install it into the Postgres of PG_CONFIG: `make install`."""

import os

import environment
import postgres


def main():
    installation = postgres.Installation(os.environ.get("PG_CONFIG") or "pg_config")
    for path in postgres.install(postgres.build(installation), installation):
        print(f"installed {path}")
    print("In each database that is to have it: CREATE EXTENSION walia;")


environment.main(main)
