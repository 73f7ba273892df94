# Sourced. Installs Debian packages, only what is missing, without letting their services begin.

# packages_missing PACKAGE...: prints those that are not installed.
packages_missing() {
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

# packages_install PACKAGE...: false if they can't be had.
packages_install() {
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "there is no apt-get here to install $missing" >&2
        return 1
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "installing $missing takes root or sudo" >&2
            return 1
        }
        as_root=sudo
    fi
    echo "Installing: $missing" >&2
    # Debian starts a service when it is installed, unless this file says no.
    policy=/usr/sbin/policy-rc.d
    own_policy=false
    if [ ! -e "$policy" ]; then
        own_policy=true
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    # shellcheck disable=SC2086 # lists of words
    {
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing ||
            { $as_root apt-get -q -y update && $as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing; }
    } >&2
    installed=$?
    ! $own_policy || $as_root rm -f "$policy"
    return $installed
}
