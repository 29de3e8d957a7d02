
# Arguments reach the scripts word by word, spaces and all.
set positional-arguments

# List the recipes
[private]
default:
    @{{ just_executable() }} --list --unsorted

# Start the service with demo data on a private PostgreSQL (or on DATABASE_URL, which it migrates); Ctrl-C stops both
run:
    @exec .just/run

# The same by HTTPS, with a throw-away certificate
run-https:
    @exec .just/run https

# Run all tests on a private PostgreSQL; arguments go to cargo test
test *args:
    @exec .just/test "$@"

# Compile everything and run the unit tests whenever a file changes; arguments go to cargo test in place of --lib
watch *args:
    @exec .just/watch "$@"

# Look for changes of the domain's code that its tests do not notice; arguments go to cargo mutants
mutants *args:
    @mkdir -p target
    @exec .just/tool cargo-mutants mutants --package crm-domain "$@"

# Measure a release build beside pgbench (docs/BENCHMARKS.md); the arguments are seconds a figure and customers
bench *args:
    @exec .just/bench "$@"

# Measure the directory's read model beside the direct statement; the arguments are numbers of customers
bench-directory *args:
    @exec .just/bench-directory "$@"

# Measure an export of the whole directory, and the default page meanwhile; the arguments are seconds a figure and customers
bench-export *args:
    @exec .just/bench-export "$@"

# Measure the overview of a customer beside the profile and the requests that it replaces; the arguments are seconds a figure and customers
bench-history *args:
    @exec .just/bench-history "$@"

# Measure a refresh of all figures, and the default page meanwhile; the arguments are seconds a figure and customers
bench-kpis *args:
    @exec .just/bench-kpis "$@"

# Check format, dependencies, lints and documentation; warnings are errors
lint:
    cargo fmt --all --check
    @.just/dependencies
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

# Check licences, duplicates, sources and vulnerabilities of the dependencies, and that all of them are used
dependencies:
    @exec .just/dependencies

# Format the code
fmt:
    cargo fmt --all

# Open psql on the database of `just run`, while that runs; arguments go to psql
db *args:
    @exec .just/cluster psql run "$@"

# Delete the database of `just run`
reset:
    @exec .just/cluster reset run

# Create an empty migration
migration name:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ ! $1 =~ ^[a-z][a-z0-9_]*$ ]]; then
        echo "a migration's name consists of lower-case letters, digits and _" >&2
        exit 1
    fi
    folder=migrations/$(date -u +%Y-%m-%d-%H%M%S)_$1
    mkdir -p "$folder"
    echo "-- What changes." >"$folder/up.sql"
    echo "-- Undoes up.sql." >"$folder/down.sql"
    echo "$folder"

# Open the documentation of the code
doc:
    cargo doc --workspace --no-deps --document-private-items --open

# Write the API's description to docs/openapi.json
openapi:
    cargo run --quiet --locked -p crm-app --bin crm -- openapi >docs/openapi.json.new
    mv docs/openapi.json.new docs/openapi.json
