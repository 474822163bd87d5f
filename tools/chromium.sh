#!/bin/sh
# See to it that the browser tests find Chromium: Debian's package, or without root the same
# package unpacked under .venv/chromium.
set -eu
command -v chromium >/dev/null && exit 0
home=$PWD/.venv/chromium
[ -x "$home/chromium" ] && exit 0

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

if as_root true; then
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends chromium
  exit 0
fi

echo "Chromium is not installed and this user may not install it: unpacking it under .venv."
mkdir -p "$home/lists/partial" "$home/cache/archives/partial" "$home/unpacked"
apt="apt-get -q -o Dir::State::Lists=$home/lists -o Dir::Cache=$home/cache -o Debug::NoLocking=1"
$apt update
$apt install -y --no-install-recommends --download-only chromium
for package in "$home"/cache/archives/*.deb; do dpkg -x "$package" "$home/unpacked"; done
cat > "$home/chromium" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$home/unpacked/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu"):$home/unpacked/usr/lib/chromium"
exec "$home/unpacked/usr/lib/chromium/chromium" "\$@"
END
chmod +x "$home/chromium"
