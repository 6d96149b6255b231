#!/bin/bash
# Makes one role and one database for each service, and the two shared databases with their owners.
set -euo pipefail

role() {
  # The password goes in as a variable, so that no statement in a log ever holds it.
  psql --set ON_ERROR_STOP=1 --set role="$1" --set password="$2" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
}

database() {
  local name=$1 owner=$2
  shift 2
  psql --set ON_ERROR_STOP=1 --set name="$name" --set owner="$owner" <<'SQL'
CREATE DATABASE :"name" OWNER :"owner";
REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;
SQL
  for guest in "$@"; do
    psql --set ON_ERROR_STOP=1 --set name="$name" --set guest="$guest" <<'SQL'
GRANT CONNECT ON DATABASE :"name" TO :"guest";
SQL
  done
}

role intake "$INTAKE_PASSWORD"
role matching "$MATCHING_PASSWORD"
role notifications "$NOTIFICATIONS_PASSWORD"
role keys_owner "$KEYS_OWNER_PASSWORD"
role access_owner "$ACCESS_OWNER_PASSWORD"
role clock_reader "$CLOCK_READER_PASSWORD"
database intake intake
database matching matching
database notifications notifications
database keys keys_owner intake matching notifications
database access access_owner intake matching notifications clock_reader
