#!/bin/sh
# secrets.sh FOLDER [OWNER]: makes every secret of the fleet that is not there yet, readable by its owner alone.
# An existing file is never touched: a new pepper.key would void every virtual key.
set -eu
umask 077

folder=$1
owner=${2:-}
mkdir -p "$folder"

# 256 random bits in hexadecimal.
random() { od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# keep NAME: standard input becomes that file, whole or not at all.
keep() {
    cat > "$folder/.$1"
    chmod 0400 "$folder/.$1"
    mv "$folder/.$1" "$folder/$1"
    echo "made $1"
}

for name in master.key ring.key pepper.key session.key node.key postgres.password; do
    [ -s "$folder/$name" ] || random | keep "$name"
done
[ -s "$folder/postgres.pgpass" ] ||
    printf '*:*:*:gatewright:%s\n' "$(cat "$folder/postgres.password")" | keep postgres.pgpass

if [ -n "$owner" ]; then
    chown -R "$owner" "$folder"
fi
