# Sourced by `up` and `check`: tests for what is needed, names what is missing and why, and installs it with apt
# when root or sudo allows. POSIX sh; nothing but coreutils is assumed.

say() { printf '%s\n' "gatewright: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The directory of the newest Postgres server binaries, or nothing.
postgres_bin() {
    if have initdb && have postgres; then
        dirname "$(command -v initdb)"
        return
    fi
    for directory in $(ls -d /usr/lib/postgresql/*/bin /usr/local/pgsql/bin 2>/dev/null | sort -Vr); do
        if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ]; then
            printf '%s\n' "$directory"
            return
        fi
    done
}

have_python_venv() { have python3 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

MISSING_PACKAGES=

# need WHAT WHY PACKAGES TEST...: remembers the packages when TEST fails.
need() {
    what=$1 why=$2 packages=$3
    shift 3
    if ! "$@"; then
        say "missing: $what, needed $why (Debian: $packages)"
        MISSING_PACKAGES="$MISSING_PACKAGES $packages"
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# Installs what `need` found missing, or stops with the exact line to run.
install_missing() {
    [ -n "$MISSING_PACKAGES" ] || return 0
    line="apt-get update && apt-get install -y --no-install-recommends$MISSING_PACKAGES"
    if ! have apt-get; then
        fail "install the programs named above (no apt-get here), then run this again"
    fi
    if [ "$(id -u)" -ne 0 ] && ! { have sudo && sudo -n true 2>/dev/null; }; then
        fail "neither root nor sudo without a password; run this, then run me again:
    sudo sh -c 'mkdir -p /etc/postgresql-common/createcluster.d && echo create_main_cluster = false > /etc/postgresql-common/createcluster.d/gatewright.conf && $line'"
    fi
    say "installing:$MISSING_PACKAGES"
    # Debian's Postgres package would create and start a cluster on 5432; ours runs its own.
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/gatewright.conf >/dev/null
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $MISSING_PACKAGES >&2 ||
        status=$?
    as_root rm -f /etc/postgresql-common/createcluster.d/gatewright.conf
    [ "$status" -eq 0 ] || fail "apt-get failed (status $status); run it by hand to see why: $line"
    MISSING_PACKAGES=
}

# The Rust toolchain is never installed behind anybody's back.
need_rust() {
    have cargo && have rustc ||
        fail "missing: cargo and rustc 1.95 or newer, needed to build (https://rustup.rs, or your distribution)"
    version=$(rustc --version | cut -d' ' -f2)
    minor=$(printf '%s' "$version" | cut -d. -f2)
    [ "$(printf '%s' "$version" | cut -d. -f1)" -gt 1 ] || [ "$minor" -ge 95 ] ||
        fail "rustc $version is too old: 1.95 or newer is needed (rustup update stable)"
}

have_compiler() { have cc || have gcc; }
have_postgres() { [ -n "$(postgres_bin)" ]; }

need_to_run() {
    need_rust
    need "a C compiler" "to build the TLS library" "gcc libc6-dev" have_compiler
    need "the Postgres server" "to keep the catalog (a child process of Gatewright's own)" "postgresql" have_postgres
}
