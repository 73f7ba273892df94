# shellcheck shell=sh
# A fresh Debian 12, made of the packages of the mirror that this machine uses itself. Read with `.`.
#
#   debian_make DIR [PACKAGE...]   makes one in DIR, which isn't there yet: the minimal system and those
#   debian_slim DIR                takes out of it what the registry's bookworm-slim hasn't got either
#
# Both take root, the first debootstrap. They say nothing unless they fail, and then return 1.

debian_make() {
    debian_root=$1
    shift
    # shellcheck disable=SC2016 # apt expands it
    debian_mirror=$(apt-get indextargets --format '$(SITE)' \
        'Created-By: Packages' 'Label: Debian' 'Codename: bookworm' 2>/dev/null | head -n 1)
    [ -n "$debian_mirror" ] || {
        echo "This machine's apt knows no mirror of Debian bookworm" >&2
        return 1
    }
    command -v debootstrap >/dev/null || {
        echo "There is no debootstrap" >&2
        return 1
    }
    debian_more=$(echo "$*" | tr ' ' ,)
    if ! debootstrap --variant=minbase ${debian_more:+--include="$debian_more"} bookworm \
        "$debian_root" "$debian_mirror" >"$debian_root.log" 2>&1; then
        cat "$debian_root.log" >&2
        rm -rf --one-file-system "$debian_root" "$debian_root.log"
        return 1
    fi
    rm -f "$debian_root.log"
}

debian_slim() {
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* \
        "$1"/usr/share/man/* "$1"/usr/share/locale/* "$1"/usr/share/info/* "$1"/var/log/*.log
    find "$1/usr/share/doc" -type f ! -name copyright -delete
}
