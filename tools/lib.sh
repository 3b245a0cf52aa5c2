# lib.sh - sourced by ./dev and the shell scripts in tools/: where we are, how to speak. Not a program.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)
export PYTHONDONTWRITEBYTECODE=1

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
	green='' red='' dim='' plain=''
fi

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# steady COMMAND... runs it with addresses that do not move: gcc 12's sanitizers cannot start on kernels that
# scatter them widely (vm.mmap_rnd_bits above 28). Where that is forbidden, as in some containers, without.
steady() {
	if setarch -R true 2>/dev/null; then setarch -R "$@"; else "$@"; fi
}

# packages_of GROUP... - the packages of these groups of tools/packages.txt, one a line.
packages_of() {
	awk -v groups=" $* " '
		{ sub(/[ \t]*#.*/, "") }
		/^\[/ { split($0, a, /[][]/); on = index(groups, " " a[2] " "); next }
		on && NF { print $1 }' "$root/tools/packages.txt" | sort -u
}
