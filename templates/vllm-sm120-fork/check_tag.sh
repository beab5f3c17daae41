#!/bin/sh
# usage: check_tag.sh REPOSITORY TAG COMMIT
# Refuses a tag that is gone or no longer points at COMMIT. An annotated tag is an object of its own; what it points at is listed
# with ^{} behind its name.
set -eu
. "$(dirname "$0")/refuse.sh"
repository=$1 tag=$2 commit=$3

if [ -z "$tag" ]; then
  echo "no tag to check"
  exit 0
fi
listed=$(git ls-remote -- "$repository" "refs/tags/$tag" "refs/tags/$tag^{}") || refuse "$repository does not answer"
at=
while read -r hash name; do
  case $name in
    "refs/tags/$tag^{}") at=$hash ;;
    "refs/tags/$tag") at=${at:-$hash} ;;
  esac
done <<END
$listed
END
[ -n "$at" ] || refuse "$repository has no tag $tag any more; the pinned commit is $commit"
[ "$at" = "$commit" ] || refuse "tag $tag of $repository has moved: it is at $at, and the pin says $commit"
echo "$tag $commit"
