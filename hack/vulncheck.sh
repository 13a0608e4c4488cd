#!/bin/sh
# vulncheck.sh: looks for known vulnerabilities in what agent and coordinator call,
# Go's standard library included. The database is the one that Go's module proxy
# has, as pinned in hack/tools/vulndb, or VULNDB: https://vuln.go.dev is today's.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${VULNDB:-}" ]; then
	go mod download -C hack/tools/vulndb golang.org/x/vulndb
	osv=$(go list -C hack/tools/vulndb -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv
	database=$(mktemp -d) && trap 'rm -rf "$database"' EXIT
	go tool -modfile=hack/tools/vulndb/go.mod indexdb -vulns "$osv" -out "$database"
	cat >&2 <<END
************************************************************************
* The vulnerabilities are those known at $(go list -C hack/tools/vulndb -m -f '{{.Time.Format "2006-01-02"}}' golang.org/x/vulndb), of hack/tools/vulndb.  *
* VULNDB=https://vuln.go.dev asks today's database and needs internet. *
************************************************************************
END
	VULNDB=file://$database
fi
go tool -modfile=hack/tools/govulncheck/go.mod govulncheck -db "$VULNDB" ./cmd/eni-agent ./cmd/eni-coordinator
