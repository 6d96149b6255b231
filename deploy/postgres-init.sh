#!/bin/bash
# Makes one role and one database for each service, and the two shared databases with their owners.
set -euo pipefail

run() {
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres "$@"
}

# The password is taken from the environment by psql itself: not in a command line, which every
# user of the machine can read, and in no log of the server.
role() {
  run --set role="$1" <<SQL
\getenv password ${1^^}_PASSWORD
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
}

# A database that its owner and the guests may connect to, and nobody else.
database() {
  run --set name="$1" --set owner="$2" <<'SQL'
CREATE DATABASE :"name" OWNER :"owner";
REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;
SQL
  local guest
  for guest in "${@:3}"; do
    run --set name="$1" --set guest="$guest" <<'SQL'
GRANT CONNECT ON DATABASE :"name" TO :"guest";
SQL
  done
}

for name in intake matching notifications keys_owner access_owner clock_reader; do
  role "$name"
done
database intake intake
# Intake compares what it has accepted with where the others have it: ids, in one view of each.
database matching matching intake
database notifications notifications intake
database keys keys_owner intake matching notifications
database access access_owner intake matching notifications clock_reader
