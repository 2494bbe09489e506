#!/bin/sh
# Recovers a tree from a diff archive with nothing but tar, rdiff and a POSIX shell:
#
#     sh recover.sh ARCHIVE TREE
#
# TREE is a copy of the tree that the diff starts from, or an empty directory for a full backup.
# A chain of diffs is recovered one archive after another. Of volumes an archive is made first:
# `cat NAME.*.tgz >NAME.tgz`. What the columns of PATHS are is in docs/format.md. Extended attributes are not recovered; the digests in diff.index are not checked.
# Besides POSIX, touch has to know `-d @SECONDS` and `-h`, as those of GNU and busybox do. Where it takes no fraction of
# a second (busybox), times are cut to seconds.
set -eu
LC_ALL=C
export LC_ALL
archive=$1
tree=${2%/}
case $tree in /*) ;; *) tree=./$tree ;; esac
work=$tree.recover
tab=$(printf '\t')

mkdir "$work" "$work/new"
# By itself, since not every tar knows how the archive is compressed, and what follows a pipe does not see that it broke off.
case $(head -c 2 "$archive" | od -An -tx1 | tr -d ' \n') in
    1f8b) gzip -dc <"$archive" >"$work/archive" ;;
    28b5) zstd -dc <"$archive" >"$work/archive" ;;
    *) cat "$archive" >"$work/archive" ;;
esac
tar -xf "$work/archive" -C "$work"
# The contents lie in the archive in the order of the lines that need one. In volumes, long ones are in
# parts: NAME.00000001 and so on.
tar -tf "$work/archive" | grep -E '^(created|updated)/' | sed 's/\..*//' | uniq >"$work/members"
rm "$work/archive"
# A file that is the same as one before it names its line.
cat "$work"/PATHS* | awk -F "$tab" -v OFS="$tab" '
    /^#/ { next }
    { at[$8] = ++number }
    $2 == "same" { $7 = at[$7] }
    { print }' >"$work/forward"
awk '{ line[NR] = $0 } END { for (n = NR; n > 0; n--) print line[n] }' "$work/forward" >"$work/reverse"

# Sets $name to what an escaped name stands for. The dot keeps newlines at the end.
unescape() {
    name=$(printf '%b.' "$1")
    name=${name%.}
}

# Sets $path to a path in the tree.
locate() {
    unescape "$1"
    path=$tree/$name
}

# Whether touch takes a fraction of a second.
mkdir "$work/probe"
if touch -h -d @1.5 "$work/probe" 2>/dev/null; then fractions=yes; else fractions=; fi

is_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }

# 1. Make every new file, from the old tree as it still is.
number=0
while IFS=$tab read -r kind content mode uid gid mtime from path; do
    number=$((number + 1))
    new=$work/new/$number
    case $kind/$content in
        file/whole | file/delta)
            read -r member <&3
            if [ ! -f "$work/$member" ]; then
                cat "$work/$member".* >"$work/$member"
                rm "$work/$member".*
            fi
            ;;
    esac
    case $kind/$content in
        file/whole) mv "$work/$member" "$new" ;;
        file/delta) locate "$from" && rdiff patch "$path" "$work/$member" "$new" ;;
        file/same) cp "$work/new/$from" "$new" ;;
        file/copy) locate "$from" && cp "$path" "$new" ;;
        file/empty) : >"$new" ;;
    esac
done <"$work/forward" 3<"$work/members"

# 2. Let the directories concerned be written to.
while IFS=$tab read -r kind content mode uid gid mtime from path; do
    locate "$path"
    if is_dir "$path"; then chmod u+rwx "$path"; fi
done <"$work/forward"

# 3. Take out the directories that moved with all that is in them.
number=0
while IFS=$tab read -r kind content mode uid gid mtime from path; do
    number=$((number + 1))
    [ "$content" = tree ] || continue
    locate "$from"
    mv "$path" "$work/new/$number"
done <"$work/forward"

# 4. Remove what is gone or of another kind, the innermost first.
while IFS=$tab read -r kind content mode uid gid mtime from path; do
    locate "$path"
    case $kind/$content in
        file/keep) ;;
        dir/*) is_dir "$path" || rm -f "$path" ;;
        *) if is_dir "$path"; then rmdir "$path"; else rm -f "$path"; fi ;;
    esac
done <"$work/reverse"

# 5. Put the new in place, the outermost first.
number=0
while IFS=$tab read -r kind content mode uid gid mtime from path; do
    number=$((number + 1))
    locate "$path"
    case $kind/$content in
        dir/tree) mv "$work/new/$number" "$path" ;;
        dir/*) [ -d "$path" ] || mkdir "$path" ;;
        file/keep) ;;
        file/*) mv "$work/new/$number" "$path" ;;
        symlink/*) unescape "$from" && ln -s -- "$name" "$path" ;;
        hardlink/*) unescape "$from" && ln "$tree/$name" "$path" ;;
        fifo/*) mkfifo "$path" ;;
        char/*) mknod "$path" c $from ;;
        block/*) mknod "$path" b $from ;;
    esac
done <"$work/forward"

# 6. Owners, modes and times, the innermost first: what is done in a directory changes its time.
while IFS=$tab read -r kind content mode uid gid mtime from path; do
    [ "$kind" != gone ] || continue
    locate "$path"
    if [ "$(id -u)" = 0 ]; then chown -h "$uid:$gid" "$path"; fi
    if [ "$kind" != symlink ]; then chmod "$mode" "$path"; fi
    if [ -z "$fractions" ]; then mtime=${mtime%.*}; fi
    touch -h -d "@$mtime" "$path"
done <"$work/reverse"

rm -r "$work"
