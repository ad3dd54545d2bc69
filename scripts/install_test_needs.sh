#!/bin/sh
# Installs what the tests need beyond Python: Chromium and its driver, for Flower's pages.
# On Debian and its kin, as root or with sudo; elsewhere it says what to install.
set -eu

missing=""
for program in chromium chromedriver; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ -z "$missing" ]; then
    echo "nothing to install: chromium and chromedriver are there"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install these by hand, this is no Debian:$missing" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "run this as root; missing:$missing" >&2; exit 1; }
    as_root=sudo
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends \
    chromium chromium-driver >/dev/null
echo "installed: chromium, chromedriver"
