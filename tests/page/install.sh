#!/usr/bin/env bash
# Installs what `cargo test --test page` needs on a bare Debian 12, as root: Chromium without a screen, and a font.
# It may be run again at any time: what is there already is left alone, and then it takes no time.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    echo "tests/page/install.sh: installs packages, and so must run as root" >&2
    exit 1
fi
program() { command -v chromium || command -v chromium-headless-shell; }
if ! program >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null
fi
echo "chromium: $("$(program)" --version | grep -o '[0-9][0-9.]*' | head -1)"
