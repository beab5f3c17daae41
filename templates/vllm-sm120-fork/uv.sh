#!/bin/sh
# usage: uv.sh bootstrap | uv.sh WORDS...
# uv with pip's settings in its own words: pip separates several by spaces, uv's find-links by commas, and pip takes the best
# version of all indexes where uv would stop at the first index that knows the name.
set -eu
if [ "$1" = bootstrap ]; then
  # A uv that the base image brings is taken where it is the pinned one: the image's label says which.
  asked=$(sed -n 's/^uv==//p' "$(dirname "$0")/requirements-uv.txt")
  there=$(uv --version 2> /dev/null | cut -d ' ' -f 2)
  if [ "$there" = "$asked" ]; then exit 0; fi
  python3 -m venv /opt/uv
  /opt/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --requirement "$(dirname "$0")/requirements-uv.txt"
  ln -sf /opt/uv/bin/uv /usr/local/bin/uv
  exit 0
fi
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; fi
if [ -n "${PIP_EXTRA_INDEX_URL:-}" ]; then export UV_INDEX="$PIP_EXTRA_INDEX_URL"; fi
if [ -n "${PIP_FIND_LINKS:-}" ]; then UV_FIND_LINKS=$(echo "$PIP_FIND_LINKS" | tr ' ' ','); export UV_FIND_LINKS; fi
if [ -n "${PIP_TRUSTED_HOST:-}" ]; then export UV_INSECURE_HOST="$PIP_TRUSTED_HOST"; fi
if [ -n "${PIP_NO_INDEX:-}" ] && [ "$1 ${2:-}" = "pip install" ]; then set -- "$@" --no-index; fi
export UV_INDEX_STRATEGY=unsafe-best-match UV_LINK_MODE=copy UV_HTTP_TIMEOUT=600
exec uv "$@"
