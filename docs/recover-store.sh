#!/bin/sh
# Recovers a state from a store of archives with nothing but tar, rdiff and a POSIX shell:
#
#     sh recover-store.sh STORE TREE [POINT]
#
# STORE is a directory of archives called POINT-full.tgz and POINT-since-POINT.tgz (or .tar.zst), of which
# any may lead to the same point. Before that, -at-TIME may say what the clock was. What is called -checkpoint leads to the
# beginning of a tree alone, and is recovered only if there is nothing else. TREE is made, or is an
# empty directory. POINT is the one to recover, as
# 20261122T161858Z; without it, it is the newest that archives lead to. Of several ways the one with the
# fewest archives is taken. recover.sh has to lie beside this script, and says what is not recovered.
set -eu
LC_ALL=C
export LC_ALL
store=${1%/}
tree=${2%/}
recover=$(dirname "$0")/recover.sh

# Prints the archives of the way, in order. Sorted by name, all that lead to a point stand before those
# that start there: a point's id comes first in the name, and is later than the one that it follows.
way() {
    ls "$store" | sort | awk -v wanted="$1" '
        function reach(point, way, steps) {
            if (!(point in ways) || steps < length_of[point]) {
                ways[point] = way
                length_of[point] = steps
            }
            if (whole || !found) newest = point
            if (whole) found = 1
        }
        { whole = $0 !~ /-checkpoint\./ }
        /^[0-9]+T[0-9]+Z(-at-[0-9]+T[0-9]+Z)?-full(-checkpoint)?\.(tgz|tar\.zst)$/ {
            last = substr($0, 1, index($0, "-") - 1)
            reach(last, $0, 1)
        }
        /^[0-9]+T[0-9]+Z(-at-[0-9]+T[0-9]+Z)?-since-[0-9]+T[0-9]+Z(-checkpoint)?\.(tgz|tar\.zst)$/ {
            last = substr($0, 1, index($0, "-") - 1)
            since = substr($0, index($0, "-since-") + 7)
            sub(/[-.].*/, "", since)
            if (since in ways) reach(last, ways[since] "\n" $0, length_of[since] + 1)
        }
        END {
            point = wanted == "" ? newest : wanted
            if (wanted == "" && newest != last)
                print "no way leads to " last ", since archives are missing" >"/dev/stderr"
            if (wanted == "" && newest != "" && !found)
                print newest " is a checkpoint: it has the beginning of the tree alone" >"/dev/stderr"
            if (!(point in ways)) {
                print "no way leads to " (point == "" ? "any point" : point) >"/dev/stderr"
                exit 1
            }
            print "recovering " point >"/dev/stderr"
            print ways[point]
        }'
}

archives=$(way "${3-}")
[ -d "$tree" ] || mkdir "$tree"
if [ -n "$(ls -A "$tree")" ]; then
    echo "$tree is not empty" >&2
    exit 1
fi
for archive in $archives; do
    sh "$recover" "$store/$archive" "$tree"
done
