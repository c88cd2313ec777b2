#!/bin/sh
# Installs edgeagent where there is no apt: an environment of its own under a prefix, and a service.
#
#   ./install.sh [--prefix /opt/edgeagent] [--no-service]     install, or upgrade what is there
#   ./install.sh --uninstall [--prefix /opt/edgeagent] [--purge]
#
# Neither pip nor a network is needed; Python itself is, in the version that this archive is for.
set -eu

prefix=/opt/edgeagent
service=yes
action=install
purge=no
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/target"    # PYTHON=3.11 MACHINE=x86_64 VERSION=…

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  %s\n' "$2" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case "$1" in
    --prefix) [ $# -ge 2 ] || fail "--prefix needs a folder"; prefix=$2; shift ;;
    --prefix=*) prefix=${1#*=} ;;
    --no-service) service=no ;;
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) printf 'install.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
    esac
    shift
done
case "$prefix" in
/ | /usr | /usr/local | /opt | /home | /var | /etc) fail "$prefix would be replaced as a whole; name a folder of its own" ;;
/*) ;;
*) prefix=$(pwd)/$prefix ;;
esac
# A path with blanks can't stand behind #!, and 127 bytes is all that older kernels read there.
case "$prefix" in *[[:space:]]*) fail "the prefix may not hold blanks: $prefix" ;; esac
[ "$(id -u)" = 0 ] || service=no
units=/etc/systemd/system
has_systemd() { [ "$service" = yes ] && command -v systemctl >/dev/null 2>&1; }
running() { [ -d /run/systemd/system ]; }

if [ "$action" = uninstall ]; then
    [ -f "$prefix/lib/edgeagent/installed-by" ] || fail "there is no edgeagent under $prefix"
    if has_systemd; then
        running && systemctl disable --now edgeagent.service >/dev/null 2>&1 || true
        rm -f "$units/edgeagent.service" "$units/edgeagent-retry.service" \
            "$units/edgeagent-retry.timer" "$units/multi-user.target.wants/edgeagent.service" \
            /etc/udev/rules.d/60-edgeagent.rules
        running && systemctl daemon-reload || true
    fi
    rm -rf "$prefix"
    if [ "$purge" = yes ] && [ "$service" = yes ]; then
        rm -rf /etc/edgeagent /var/lib/edgeagent /var/cache/edgeagent
    fi
    say "edgeagent is removed from $prefix$([ "$purge" = yes ] && [ "$service" = yes ] && echo ', with its configuration and records')"
    exit 0
fi

[ "$(uname -m)" = "$MACHINE" ] || fail "this archive is for $MACHINE, this machine is $(uname -m)"
python=$(command -v "python$PYTHON" || true)
[ -n "$python" ] || fail "python$PYTHON is not on this system" \
    "Take the archive for the Python that is here: $(command -v python3 >/dev/null && python3 --version || echo none)"
"$python" -c 'import ssl, sqlite3, ctypes, venv' 2>/dev/null ||
    fail "$python lacks parts of its library (ssl, sqlite3, ctypes)"
if command -v sha256sum >/dev/null 2>&1; then
    (cd "$here" && sha256sum --quiet -c SHA256SUMS >/dev/null 2>&1) ||
        fail "files of the archive are damaged or missing" "Unpack it again: tar xzf edgeagent-*.tar.gz"
fi

fresh=$prefix.new
rm -rf "$fresh"
mkdir -p "$(dirname "$prefix")"
cp -R "$here/tree" "$fresh"
ln -sf "$python" "$fresh/lib/edgeagent/bin/python3"
printf 'home = %s\ninclude-system-site-packages = false\nversion = %s\n' \
    "$(dirname "$python")" "$PYTHON" >"$fresh/lib/edgeagent/pyvenv.cfg"
for command in edgeagent edgeagentd; do
    sed -i "1s|.*|#!$prefix/lib/edgeagent/bin/python3 -I|" "$fresh/bin/$command"
done
# A library of the system that is missing is told now, not by a service that does not come up.
for module in numpy ai_edge_litert.interpreter onnxruntime cv2; do
    [ -e "$fresh/lib/edgeagent/lib/python$PYTHON/site-packages/${module%%.*}" ] || continue
    said=$("$fresh/lib/edgeagent/bin/python3" -I -c "import $module" 2>&1) || {
        rm -rf "$fresh"
        fail "${module%%.*} can't be loaded: $(printf '%s\n' "$said" | grep -o 'lib[^ ]*: cannot open.*' | tail -n 1)" \
            "Install what is missing on this system (libstdc++.so.6: the package libstdc++6 or libstdc++)"
    }
done
# Compiled now: a service may not write there, and would compile at every start.
"$python" -m compileall -q -j 0 -s "$fresh" -p "$prefix" "$fresh/lib/edgeagent/lib" || true

if has_systemd; then
    if command -v systemd-sysusers >/dev/null 2>&1; then
        install -d /usr/local/lib/sysusers.d
        systemd-sysusers "$here/edgeagent.sysusers"
    elif ! id edgeagent >/dev/null 2>&1; then
        useradd --system --home-dir /var/lib/edgeagent --shell /usr/sbin/nologin edgeagent
        for group in video audio dialout plugdev render i2c; do
            if getent group "$group" >/dev/null; then usermod -aG "$group" edgeagent; fi
        done
    fi
    for folder in /etc/edgeagent /etc/edgeagent/conf.d /etc/edgeagent/secrets /etc/edgeagent/operators; do
        [ -d "$folder" ] || install -d -m 0750 -g edgeagent "$folder"
    done
    [ -f /etc/edgeagent/agent.toml ] ||
        install -m 0640 -g edgeagent "$here/agent.toml" /etc/edgeagent/agent.toml
    running && systemctl stop edgeagent.service >/dev/null 2>&1 || true
fi
rm -rf "$prefix.old"
[ ! -e "$prefix" ] || mv "$prefix" "$prefix.old"
mv "$fresh" "$prefix"
rm -rf "$prefix.old"
if has_systemd; then
    mkdir -p "$units/multi-user.target.wants" /etc/udev/rules.d
    for unit in edgeagent.service edgeagent-retry.service edgeagent-retry.timer; do
        sed "s|/usr/bin/edgeagent|$prefix/bin/edgeagent|" "$here/$unit" >"$units/$unit"
        chmod 0644 "$units/$unit"
    done
    install -m 0644 "$here/60-edgeagent.rules" /etc/udev/rules.d/60-edgeagent.rules
    ln -sf ../edgeagent.service "$units/multi-user.target.wants/edgeagent.service"
    if running; then
        systemctl daemon-reload
        systemctl start edgeagent.service
    fi
fi
say "$("$prefix/bin/edgeagent" --version) is in $prefix"
say "  Look around:   $prefix/bin/edgeagent --help"
if has_systemd; then
    say "  Configure:     /etc/edgeagent/agent.toml, then: systemctl reload edgeagent"
else
    say "  Run it:        $prefix/bin/edgeagent run --config FILE"
fi
