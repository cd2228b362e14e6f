#!/usr/bin/env bash
# Installs the listeners that `cargo test --test real` drives, on a bare Debian 12, as root:
#   Postfix (with smtp-sink)  by apt-get, with no configuration of its own and no service started;
#   Dovecot                   by apt-get, no service started: its LMTP, its submission, and AUTH for Postfix and Exim;
#   Exim 4, OpenSMTPD         unpacked into folders of their own, because they conflict with Postfix. (Exim delivers by
#                             executing /usr/sbin/exim4, which is not there: the tests let it queue only.)
#   Sendmail, Courier, qpsmtpd   unpacked, with all that they need, into root folders of their own (for `chroot`);
#   Postgrey                  unpacked in such a root folder too: the greylist of a Postfix;
#   Redis                     unpacked in the same way, for the limits of Haraka;
#   Haraka, smtp-server       from npm, in a folder of their own, with the machine's Node.js or one from npm;
#   Prometheus                unpacked in the same way, no service started; it scrapes the metrics of runs;
#   Slurm                     by apt-get, no service started: it starts the shards of a load;
#   nats-server               by apt-get, no service started: agents and coordinator of a fleet meet there;
#   OpenSSH's server          unpacked into a folder of its own: agents of a fleet are started through it; its client by apt-get;
#   libfaketime               by apt-get: an agent of a fleet whose clock is an hour fast;
#   OpenSSL                   by apt-get, for odd certificates;
#   aiosmtpd                  from PyPI, in a virtual environment of its own.
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

install_dovecot() {
    local program
    for program in auth lmtp submission; do
        if [ ! -x /usr/lib/dovecot/$program ]; then
            forbid_services
            apt_install dovecot-core dovecot-lmtpd dovecot-submissiond
            restore_policy
        fi
    done
    echo "dovecot: $(/usr/sbin/dovecot --version | cut -d' ' -f1)"
}

# Unpacks packages into a folder of their own, and installs the libraries that their program misses here.
unpack() {
    local root=$1 program=$2 packages=$1/packages package
    shift 2
    if [ ! -x "$root/$program" ] || [ -e "$packages" ]; then
        rm -rf "$packages"
        mkdir -p "$packages"
        [ -n "$apt_updated" ] || apt-get update -qq
        apt_updated=yes
        # apt's downloader gives its rights away to the user _apt, who may not write here: that is a warning, not a failure.
        (cd "$packages" && apt-get download -qq "$@")
        for package in "$packages"/*.deb; do dpkg -x "$package" "$root"; done
        if ldd "$root/$program" | grep 'not found' >/dev/null; then
            # Of what the packages need, the libraries: the rest is configuration.
            apt_install $(for package in "$packages"/*.deb; do dpkg -f "$package" Depends; done \
                | tr ',' '\n' | awk '$1 ~ /^lib/ { print $1 }')
        fi
        rm -r "$packages"
    fi
    if ldd "$root/$program" | grep 'not found'; then
        echo "$root/$program: libraries are missing; remove $root and run this again" >&2
        exit 1
    fi
}

# The user that a listener was compiled for; it refuses to start without.
user() {
    id "$1" >/dev/null 2>&1 \
        || useradd --system --user-group --no-create-home --home-dir "$2" --shell /usr/sbin/nologin "$1"
}

install_exim() {
    # The heavy one: the light one has no PROXY protocol.
    unpack "$folder/exim" usr/sbin/exim4 exim4-daemon-heavy exim4-base
    user Debian-exim /var/spool/exim4
    echo "exim: $(env -i "$folder/exim/usr/sbin/exim4" -C /dev/null -bV 2>/dev/null | awk '$1 == "Exim" { print $3; exit }')"
}

install_opensmtpd() {
    unpack "$folder/opensmtpd" usr/sbin/smtpd opensmtpd
    user opensmtpd /var/lib/opensmtpd
    user opensmtpq /var/lib/opensmtpd
    echo "opensmtpd: $("$folder/opensmtpd/usr/sbin/smtpd" -h 2>&1 | awk 'NR == 1 { print $3 }')"
}

# Makes a root folder of these packages and all that they depend on, down to the C library: nothing of it mixes with the
# machine's own, no maintainer's script runs. What a listener writes goes to `/own`, where each test puts a folder of its own.
make_root() {
    local root=$folder/$1 new=$folder/$1.new packages=$folder/$1.packages package
    shift
    [ ! -e "$root/own" ] || return 0
    rm -rf "$root" "$new" "$packages"
    mkdir -p "$packages/partial" "$new"/{dev,own,proc,run,tmp}
    [ -n "$apt_updated" ] || apt-get update -qq
    apt_updated=yes
    # As if nothing at all were installed.
    apt-get install -y -qq --no-install-recommends --download-only \
        -o Dir::State::status=/dev/null -o Dir::Cache::archives="$packages" "$@" \
        bash coreutils dash findutils grep mawk sed >/dev/null
    for package in "$packages"/*.deb; do dpkg -x "$package" "$new"; done
    rm -rf "$packages" "$new"/usr/share/{doc,locale,man}
    # The devices that a listener opens; the machine's log is not among them.
    mknod -m 666 "$new/dev/null" c 1 3
    mknod -m 666 "$new/dev/zero" c 1 5
    mknod -m 666 "$new/dev/random" c 1 8
    mknod -m 666 "$new/dev/urandom" c 1 9
    chmod 1777 "$new/tmp"
    ln -sf mawk "$new/usr/bin/awk"
    # Names are those of the hosts file: no listener waits for a resolver that is not there.
    echo '127.0.0.1 localhost' >"$new/etc/hosts"
    echo 'hosts: files' >"$new/etc/nsswitch.conf"
    printf '%s:x:%d:%d::/own:/bin/sh\n' root 0 0 smmta 501 501 smmsp 502 502 courier 503 503 qpsmtpd 504 504 \
        postgrey 505 505 nobody 65534 65534 >"$new/etc/passwd"
    printf '%s:x:%d:\n' root 0 mail 8 smmta 501 smmsp 502 courier 503 qpsmtpd 504 postgrey 505 nogroup 65534 >"$new/etc/group"
    mv "$new" "$root"
}

# What a program in such a root says with these arguments.
in_root() { LC_ALL=C chroot "$folder/$1" "${@:2}" 2>&1 </dev/null; }

install_sendmail() {
    make_root sendmail sendmail-bin sendmail-cf m4
    echo "sendmail: $(in_root sendmail /usr/libexec/sendmail/sendmail -C /dev/null -d0.1 -bt | awk '$1 == "Version" { print $2; exit }')"
}

install_courier() {
    local root=$folder/courier
    make_root courier courier-mta
    if [ ! -e "$root/etc/courier.packaged" ]; then
        ln -sf makedat.courier "$root/usr/bin/makedat"
        touch "$root/etc/environment"
        mv "$root/var/lib/courier" "$root/var/lib/courier.packaged"
        ln -s /own/lib "$root/var/lib/courier"
        ln -s /own/run "$root/run/courier"
        mv "$root/etc/courier" "$root/etc/courier.packaged"
        ln -s /own/etc "$root/etc/courier"
    fi
    echo "courier: $(in_root courier grep -ao 'Courier [0-9][0-9.]*' /usr/lib/courier/courier/courierd | awk 'NR == 1 { print $2 }')"
}

install_qpsmtpd() {
    make_root qpsmtpd qpsmtpd
    echo "qpsmtpd: $(in_root qpsmtpd perl -MQpsmtpd -e 'print Qpsmtpd->version')"
}

install_postgrey() {
    make_root postgrey postgrey
    echo "postgrey: $(in_root postgrey perl -ne 'print $1 if /VERSION *= *.([0-9.]+)/' /usr/sbin/postgrey)"
}

install_redis() {
    unpack "$folder/redis" usr/bin/redis-server redis-server redis-tools
    echo "redis: $("$folder/redis/usr/bin/redis-server" --version | sed 's/.* v=\([0-9.]*\).*/\1/')"
}

# What comes from npm asks for Node.js 20; Debian 12 has 18, which is enough to fetch a later one as npm has it.
install_npm() {
    local npm=$folder/npm node architecture
    if [ ! -e "$npm/node" ]; then
        rm -rf "$npm"
        mkdir -p "$npm"
        command -v npm >/dev/null || apt_install npm
        node=$(command -v node)
        if [ "$("$node" -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
            architecture=$("$node" -p process.arch)
            npm install --prefix "$npm/later" --silent --no-save "node-linux-$architecture@20.20.2"
            node=$npm/later/node_modules/node-linux-$architecture/bin/node
        fi
        npm install --prefix "$npm" --silent --no-save --omit=optional --no-audit --no-fund \
            'smtp-server@3.21.6' 'Haraka@3.3.4' 'haraka-plugin-limit@1.3.2'
        ln -s "$node" "$npm/node"
    fi
    for package in Haraka smtp-server; do
        echo "$package: $("$npm/node" -p "require('$npm/node_modules/$package/package.json').version")"
    done
}

install_prometheus() {
    unpack "$folder/prometheus" usr/bin/prometheus prometheus
    echo "prometheus: $("$folder/prometheus/usr/bin/prometheus" --version 2>&1 | awk 'NR == 1 { print $3 }')"
}

install_slurm() {
    if [ ! -x /usr/sbin/slurmctld ] || [ ! -x /usr/sbin/slurmd ] || [ ! -x /usr/bin/sbatch ]; then
        forbid_services
        apt_install slurmctld slurmd slurm-client
        restore_policy
    fi
    echo "slurm: $(srun --version | cut -d' ' -f2)"
}

install_nats_server() {
    if [ ! -x /usr/sbin/nats-server ]; then
        forbid_services
        apt_install nats-server
        restore_policy
    fi
    echo "nats-server: $(/usr/sbin/nats-server --version | awk '{ print $NF }')"
    # The network of a fleet: namespaces and their delays.
    command -v ip >/dev/null && command -v tc >/dev/null || apt_install iproute2
    # And a clock that is wrong.
    [ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 ] || apt_install libfaketime
}

# Agents of a fleet are started through it.
install_openssh() {
    command -v ssh >/dev/null || apt_install openssh-client
    unpack "$folder/openssh" usr/sbin/sshd openssh-server
    user sshd /run/sshd
    echo "openssh: $(ssh -V 2>&1 | cut -d, -f1)"
}

install_aiosmtpd() {
    local venv=$folder/aiosmtpd
    if ! "$venv/bin/python" -c 'import aiosmtpd' 2>/dev/null; then
        if ! { python3 -m venv --help && python3 -m ensurepip --version; } >/dev/null 2>&1; then
            apt_install python3-venv
        fi
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check 'aiosmtpd==1.4.6'
    fi
    echo "aiosmtpd: $("$venv/bin/python" -c 'import aiosmtpd; print(aiosmtpd.__version__)')"
}

# It shows certificates that no other listener would.
install_openssl() {
    command -v openssl >/dev/null || apt_install openssl
    echo "openssl: $(openssl version | cut -d' ' -f2)"
}

if [ "$(id -u)" != 0 ]; then
    echo "tests/real/install.sh: installs packages and makes users, and so must run as root" >&2
    exit 1
fi
mkdir -p "$folder"
install_postfix
install_dovecot
install_exim
install_opensmtpd
install_sendmail
install_courier
install_qpsmtpd
install_postgrey
install_redis
install_npm
install_prometheus
install_slurm
install_openssl
install_nats_server
install_openssh
install_aiosmtpd
