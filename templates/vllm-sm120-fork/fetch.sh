#!/bin/sh
# usage: fetch.sh REPOSITORY COMMIT DIRECTORY
# One commit with its submodules (whose commits it names), by hash: no branch, no tag and no remote but the one it is given.
set -eu
. "$(dirname "$0")/refuse.sh"
repository=$1 commit=$2 directory=$3

# "--": what comes after it is never taken for an option.
git init --quiet -- "$directory"
cd -- "$directory"
git remote add -- origin "$repository"
git fetch --quiet --depth 1 -- origin "$commit" || refuse "$repository does not give commit $commit"
git -c advice.detachedHead=false checkout --quiet --detach FETCH_HEAD
at=$(git rev-parse HEAD)
[ "$at" = "$commit" ] || refuse "$repository gave commit $at instead of $commit"
if [ -f .gitmodules ]; then
  git submodule update --quiet --init --recursive --depth 1 || refuse "the submodules of $repository at $commit cannot be fetched"
fi
echo "$directory is $repository at $at"
