#!/bin/sh
# Installs what the tests need beyond Python: Chromium and its driver, for Flower's pages, and
# RabbitMQ, as another broker. Each only where it is missing.
# On Debian and its kin, as root or with sudo; elsewhere it says what to install.
set -eu

# program:package
needs="chromium:chromium chromedriver:chromium-driver rabbitmq-server:rabbitmq-server"

# Debian keeps it in a directory of root's own, which may not be on the path.
PATH="$PATH:/usr/sbin:/usr/lib/rabbitmq/bin"
missing="" packages=""
for need in $needs; do
    command -v "${need%%:*}" >/dev/null 2>&1 && continue
    missing="$missing ${need%%:*}"
    packages="$packages ${need##*:}"
done
if [ -z "$missing" ]; then
    echo "nothing to install: chromium, chromedriver and rabbitmq-server are there"
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

# The tests start a RabbitMQ of their own: the service of the package must not run beside it.
# Debian asks this program before it starts one; where there is such a program already, it decides.
policy=/usr/sbin/policy-rc.d
made=""
forget_policy() { [ -z "$made" ] || $as_root rm -f "$policy"; }
trap forget_policy EXIT
case "$missing" in *rabbitmq*)
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        made=yes
        $as_root chmod +x "$policy"
    fi ;;
esac
$as_root apt-get update -qq
# shellcheck disable=SC2086  # several packages
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends \
    $packages >/dev/null
# Nor is it to start with the machine.
case "$made" in yes)
    if command -v systemctl >/dev/null 2>&1; then
        $as_root systemctl disable --quiet rabbitmq-server 2>/dev/null || true
    fi ;;
esac
echo "installed:$missing"
