# Words shared by every shell script under tests/. Sourced, never run; the caller has `set -euo pipefail`.
#
# What is fetched goes to one cache folder, so that a second run needs no network. Every fetch is pinned, tried a few
# times with a growing pause, and ends the suite with its own output when it cannot be had: a suite that cannot run has
# not passed.

repo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/ringkeeper-tests"
mkdir -p "$cache_dir"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# retry COMMAND…: four attempts, 2, 6 and 18 seconds apart. What the last attempt said is shown.
retry() {
    local pause=2 attempt output
    output=$(mktemp)
    for attempt in 1 2 3 4; do
        if "$@" >"$output" 2>&1; then
            rm -f "$output"
            return 0
        fi
        if [ "$attempt" -lt 4 ]; then
            say "attempt $attempt failed, again in ${pause}s: $*"
            sleep "$pause"
            pause=$((pause * 3))
        fi
    done
    say "gave up after $attempt attempts: $*"
    tail -n 30 "$output" >&2
    rm -f "$output"
    return 1
}

# need_package TEST PACKAGE…: runs TEST (a shell command); when it fails, installs the Debian packages and tests again.
# Somebody who is not root and cannot become root is told what to install.
need_package() {
    local test=$1
    shift
    eval "$test" >/dev/null 2>&1 && return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true >/dev/null 2>&1 || die "this suite needs the packages: $* (not installed, and we are not root)"
        as_root=(sudo -n)
    fi
    command -v apt-get >/dev/null || die "this suite needs the packages: $* (not installed, and there is no apt-get)"
    say "installing $*"
    (
        # Two suites that start at once must not run apt against each other.
        flock 9
        retry "${as_root[@]}" apt-get update -qq
        retry "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    ) 9>"$cache_dir/apt.lock" || die "could not install: $*"
    eval "$test" >/dev/null 2>&1 || die "installed $*, and still this fails: $test"
}

# need_java, need_python, need_go, need_cc: the tools, by apt when they are missing.
need_java() {
    need_package 'javac -version' default-jdk-headless
    need_package 'mvn -version' maven
}
need_python() { need_package 'python3 -m venv --help && python3 -m ensurepip --version' python3 python3-venv; }
need_go() { need_package 'go version' golang-go; }
need_cc() { need_package 'cc --version' gcc libc6-dev; }

# once NAME FUNCTION…: runs FUNCTION with an empty folder as its last argument and keeps what it made as
# $cache_dir/NAME. Only a complete folder gets the name, so an interrupted fetch is started afresh. Prints the folder.
once() {
    local name=$1 target="$cache_dir/$1"
    shift
    (
        flock 9
        if [ ! -d "$target" ]; then
            say "fetching $name"
            local partial="$target.partial"
            rm -rf "$partial"
            mkdir -p "$partial"
            "$@" "$partial" >&2 || { rm -rf "$partial"; exit 1; }
            mv "$partial" "$target"
        fi
    ) 9>"$cache_dir/$name.lock" || die "could not fetch $name"
    printf '%s\n' "$target"
}

# maven_jars POM FOLDER [-Dname=value…]: the run-time jars that POM names, into FOLDER.
maven_jars() {
    local pom=$1 folder=$2
    shift 2
    retry mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$folder" "$@"
}
