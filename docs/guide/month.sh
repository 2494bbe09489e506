#!/bin/sh
# A month with ibtools, as somebody new to it has it: what is typed, and what comes out. A test of the project runs it.
#
#   sh month.sh            with `ibtools` in PATH
#   IBTOOLS=/path/to/ibtools sh month.sh
#
# It works in a directory of its own, which goes at the end. It stops with an error where something is not as it should be.
set -eu
ibtools=${IBTOOLS:-ibtools}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
unset IBTOOLS_STORE IBTOOLS_PROFILE IBTOOLS_PROGRESS || true

say() { printf '\n# %s\n' "$*"; }
wrong() { printf 'WRONG: %s\n' "$*" >&2; exit 1; }
# Shows a command and what it says. It has to end with this exit code.
ends() {
    code=$1
    shift
    printf '$ ibtools %s\n' "$*"
    found=0
    "$ibtools" "$@" >out 2>&1 || found=$?
    cat out
    [ "$found" = "$code" ] || wrong "exit code $found, not $code"
}
done_() { ends 0 "$@"; }
# A mistake: it is refused with these words, and nothing has changed.
refused() {
    words=$1
    shift
    before=$(find home store other 2>/dev/null | sort)
    ends 2 "$@"
    grep -q -- "$words" out || wrong "it does not say '$words'"
    [ "$before" = "$(find home store other 2>/dev/null | sort)" ] || wrong "something has changed"
}
says() { grep -q -- "$1" out || wrong "it does not say '$1'"; }

mkdir -p home/docs home/photos/2024 home/.git home/cache other
echo 'Dear Ann' >home/docs/letter.txt
echo 'ref: refs/heads/main' >home/.git/HEAD
head -c 3000000 /dev/urandom >home/photos/2024/sea.jpg
head -c 2000000 /dev/urandom >home/photos/2024/hill.jpg
for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "note $n" >"home/docs/note$n"; done
head -c 100000 /dev/urandom >home/cache/thumbnails
echo 'somebody else' >other/file

say 'Day 1: the store is made on purpose'
refused 'there is no store' backup home store
done_ init store
refused 'swapped' backup store home
refused 's3://' backup home s3://bucket
refused 'there is no store' backup home stroe
done_ backup home store --exclude /cache
says '1 left out by rules'

say 'Day 2: nothing has changed; that is to be seen'
done_ backup home store --exclude /cache
says 'nothing changed'
done_ snapshots store
says 'unchanged'

say 'Day 3: work; and mistakes'
echo 'Dear Ann, dear Bob' >home/docs/letter.txt
mv home/photos/2024 home/photos/summer
done_ backup home store --exclude /cache --tag friday
refused 'another tree' backup other store
refused 'leaves nothing out' backup home store --exclude "$place/home/cache"
mv home/docs home.docs && mv home/photos home.photos && mv home/.git home.git
refused 'allow-emptied' backup home store --exclude /cache
mv home.docs home/docs && mv home.photos home/photos && mv home.git home/.git
mkdir empty
refused 'store' verify empty
refused 'the first' restore store back --at 2001-01-01

say 'Day 10: looking'
done_ snapshots store
first=$(sed -n 's/^\([0-9]\{8\}T[0-9]\{6\}Z\).*/\1/p' out | head -1)
done_ ls store docs
done_ changes store "$first"
says 'photos/2024/sea.jpg -> photos/summer/sea.jpg'
done_ find store 'sea.*'
done_ log store docs/letter.txt
done_ cat store docs/letter.txt --at "$first"
says '^Dear Ann$'
done_ stats store
"$ibtools" dump store docs | tar -t >out
says 'docs/letter.txt'
refused 'docs' ls store dosc

say 'Day 12: a file is gone by mistake'
rm home/docs/letter.txt
done_ restore store home --path docs/letter.txt
cmp home/docs/letter.txt - <<'END' || wrong 'another letter'
Dear Ann, dear Bob
END

say 'Day 15: the machine does it'
mkdir -p config/ibtools
cat >config/ibtools/home.toml <<END
store = "$place/store"
sources = ["$place/home"]
[backup]
exclude = ["/cache"]
[prune]
keep-last = 3
[hooks]
before = "test -d $place/store"
END
XDG_CONFIG_HOME=$place/config
export XDG_CONFIG_HOME
echo 'note 13' >home/docs/note13
done_ --profile home backup
done_ --profile home prune --dry-run
done_ --profile home prune

say 'Day 20: several directories, and a dump, in stores of their own'
done_ backup --init home/docs other several
done_ ls several -r
says 'docs/letter.txt'
echo 'create table t' | "$ibtools" backup --init --stdin-name dump.sql dumps >out || wrong 'no dump'
done_ cat dumps dump.sql

say 'Day 25: the disk loses bytes'
for archive in store/*-full.tgz; do
    size=$(wc -c <"$archive")
    # Sixteen bytes: one alone is the byte that was there, once in 256 runs.
    printf 'these were lost!' | dd of="$archive" bs=1 seek=$((size * 3 / 4)) conv=notrunc status=none
done
ends 1 verify store
refused 'skip-damaged' restore store back
ends 1 restore store back --skip-damaged
says 'is skipped'
cmp home/docs/letter.txt back/docs/letter.txt || wrong 'the letter is not back'

say 'Day 26: a full backup makes the store whole again'
done_ backup home store --exclude /cache --full
done_ restore store whole
diff -r --exclude cache home whole || wrong 'not what it was'
printf '\nAll of it is right.\n'
