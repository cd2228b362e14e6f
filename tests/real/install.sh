#!/usr/bin/env bash
# Installs the listeners that `cargo test --test real` drives, on a bare Debian 12, as root:
#   Postfix (with smtp-sink)  by apt-get, with no configuration of its own and no service started;
#   Exim 4                    unpacked into a folder of its own, because the two packages conflict. (Exim delivers by executing
#                             /usr/sbin/exim4, which is not there: the tests let it queue only.)
# Usage: tests/real/install.sh [FOLDER]   (default: target/real-listeners in the checkout)
# It may be run again at any time: what is there already is left alone, and then it takes no time.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=${1:-$checkout/target/real-listeners}
export DEBIAN_FRONTEND=noninteractive

apt_updated=
apt_install() {
    [ -n "$apt_updated" ] || apt-get update -qq
    apt_updated=yes
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# While this runs no package may start a service. A policy of the machine's own comes back after it.
policy=/usr/sbin/policy-rc.d
kept=
forbid_services() {
    if [ -e "$policy" ]; then
        kept=$(mktemp)
        cp -p "$policy" "$kept"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap restore_policy EXIT
}
restore_policy() {
    if [ -n "$kept" ]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
    trap - EXIT
}

install_postfix() {
    if [ -x /usr/sbin/postfix ] && [ -x /usr/sbin/smtp-sink ]; then
        echo "postfix: already installed"
        return
    fi
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    forbid_services
    apt_install postfix
    restore_policy
    echo "postfix: $(postconf -d -h mail_version), installed"
}

install_exim() {
    local exim=$folder/usr/sbin/exim4 packages=$folder/packages library package
    if [ ! -x "$exim" ]; then
        mkdir -p "$packages"
        [ -n "$apt_updated" ] || apt-get update -qq
        apt_updated=yes
        # apt's downloader gives its rights away to the user _apt, who may not write here: that is a warning, not a failure.
        (cd "$packages" && apt-get download -qq exim4-daemon-light exim4-base)
        for package in "$packages"/*.deb; do dpkg -x "$package" "$folder"; done
        rm -r "$packages"
    fi
    # Exim refuses to start without the user it was compiled for.
    id Debian-exim >/dev/null 2>&1 \
        || useradd --system --user-group --no-create-home --home-dir /var/spool/exim4 --shell /usr/sbin/nologin Debian-exim
    # Its libraries: those of Debian 12, for what is missing here only.
    for library in $(ldd "$exim" | awk '/not found/ { print $1 }'); do
        case $library in
            libidn.so.12) apt_install libidn12 ;;
            libgnutls-dane.so.0) apt_install libgnutls-dane0 ;;
            libgnutls.so.30) apt_install libgnutls30 ;;
            libspf2.so.2) apt_install libspf2-2 ;;
            libdb-5.3.so) apt_install libdb5.3 ;;
            libcrypt.so.1) apt_install libcrypt1 ;;
            libpcre2-8.so.0) apt_install libpcre2-8-0 ;;
            libnsl.so.2) apt_install libnsl2 ;;
            *) echo "exim: no package is known for its library $library" >&2; exit 1 ;;
        esac
    done
    echo "exim: $(env -i "$exim" -C /dev/null -bV | awk 'NR == 1 { print $3 }') in $folder"
}

if [ "$(id -u)" != 0 ]; then
    echo "tests/real/install.sh: installs packages and makes users, and so must run as root" >&2
    exit 1
fi
mkdir -p "$folder"
install_postfix
install_exim
