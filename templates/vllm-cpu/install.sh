#!/bin/sh
# usage: install.sh TORCH_BACKEND
# Installs requirements.txt into /opt/venv with uv, byte-compiled: half the minute that vLLM takes to be ready on a small
# machine would otherwise go into compiling its imports at every start, because a non-root user cannot keep the result.
set -eu
torch_backend=$1
here=$(dirname "$0")

python3 -m venv /opt/venv
python3 -m venv /tmp/installer
/tmp/installer/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --requirement "$here/installer.txt"

# pip's settings in uv's words. pip separates several by spaces, uv's find-links by commas; and pip takes the best version
# of all indexes where uv would stop at the first index that knows the name.
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; fi
if [ -n "${PIP_EXTRA_INDEX_URL:-}" ]; then export UV_INDEX="$PIP_EXTRA_INDEX_URL"; fi
if [ -n "${PIP_FIND_LINKS:-}" ]; then UV_FIND_LINKS=$(echo $PIP_FIND_LINKS | tr ' ' ','); export UV_FIND_LINKS; fi
if [ -n "${PIP_TRUSTED_HOST:-}" ]; then export UV_INSECURE_HOST="$PIP_TRUSTED_HOST"; fi
export UV_INDEX_STRATEGY=unsafe-best-match UV_LINK_MODE=copy UV_HTTP_TIMEOUT=180

set -- --python /opt/venv/bin/python --no-cache --no-deps --compile-bytecode --requirement "$here/requirements.txt"
if [ -n "${PIP_NO_INDEX:-}" ]; then
  set -- "$@" --no-index
elif [ -z "${PIP_FIND_LINKS:-}${PIP_EXTRA_INDEX_URL:-}" ]; then
  set -- "$@" "--torch-backend=$torch_backend"
fi
/tmp/installer/bin/uv pip install "$@"
/opt/venv/bin/python "$here/alias_vllm.py"
rm -rf /tmp/installer
