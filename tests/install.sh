#!/bin/sh
# Installs bulkdel from SOURCE with pip, pipx and uv, each into its own folder below ROOT, and runs what was installed.
# Usage: tests/install.sh ROOT SOURCE (ROOT is a virtual environment that has pipx and uv)
set -eu
root=$(cd "$1" && pwd)
source=$2

echo "pip install $source"
"$root/bin/python" -m venv --clear "$root/pip"
"$root/pip/bin/python" -m pip install --quiet "$source"
"$root/pip/bin/bulkdel" --version

echo "pipx install $source"
export PIPX_HOME="$root/pipx" PIPX_BIN_DIR="$root/pipx-bin" PIPX_MAN_DIR="$root/pipx-man"
"$root/bin/pipx" install --quiet --force "$source"
"$PIPX_BIN_DIR/bulkdel" --version

echo "uv tool install $source"
export UV_TOOL_DIR="$root/uv" UV_TOOL_BIN_DIR="$root/uv-bin" UV_CACHE_DIR="$root/uv-cache"
"$root/bin/uv" tool install --quiet --force "$source"
"$UV_TOOL_BIN_DIR/bulkdel" --version
"$UV_TOOL_BIN_DIR/bulkdel" jobs
