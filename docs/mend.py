#!/usr/bin/env python3
"""Mends a file by its parity: the bytes that docs/format.md describes, without any other program.

    python3 mend.py FILE FILE.parity MENDED

Plain Python 3, slow (a megabyte takes some seconds), and in need of nothing. Of a parity over several files it mends the
one that is called as FILE is, and looks for the others beside it. Exit 0: MENDED was written, and each of its shards has
its hash. Exit 1: nothing was written.
"""
import os, struct, sys

# BLAKE3, of which a hash is the first 16 bytes (a block's digest: 32).
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTE = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
ROUND = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def compress(chain, block, counter, length, flags):
    m = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*chain, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags]
    for _ in range(7):
        for number, (a, b, c, d) in enumerate(ROUND):
            for x, right, left in ((m[2 * number], 16, 12), (m[2 * number + 1], 8, 7)):
                v[a] = (v[a] + v[b] + x) & 0xFFFFFFFF
                t = v[d] ^ v[a]
                v[d] = (t >> right | t << (32 - right)) & 0xFFFFFFFF
                v[c] = (v[c] + v[d]) & 0xFFFFFFFF
                t = v[b] ^ v[c]
                v[b] = (t >> left | t << (32 - left)) & 0xFFFFFFFF
        m = [m[at] for at in PERMUTE]
    return [v[at] ^ v[at + 8] for at in range(8)]


def blake3(data):
    def node(first, count, root):
        """The chaining value over so many chunks from `first` on."""
        if count == 1:
            chunk = data[1024 * first : 1024 * first + 1024]
            blocks = [chunk[at : at + 64] for at in range(0, len(chunk), 64)] or [b""]
            chain = IV
            for number, block in enumerate(blocks):
                last = number + 1 == len(blocks)
                flags = (CHUNK_START if number == 0 else 0) | ((CHUNK_END | root) if last else 0)
                chain = compress(chain, block, first, len(block), flags)
            return chain
        left = 1 << (count - 1).bit_length() - 1
        both = node(first, left, 0) + node(first + left, count - left, 0)
        return compress(IV, struct.pack("<16I", *both), 0, 64, PARENT | root)

    return struct.pack("<8I", *node(0, max(1, -(-len(data) // 1024)), ROOT))


# The field: 2^16 elements, numbered by the Cantor basis; adding is XOR.
BASIS = (0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012,
         0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E)
inner = [0]  # An element's number -> its polynomial.
for element in BASIS:
    inner += [other ^ element for other in inner]
power = [0] * 65536  # A polynomial -> of which power of x it is.
state = 1
for number in range(65535):
    power[state] = number
    state = state << 1 ^ (0x1002D if state & 0x8000 else 0)
LOG = [power[polynomial] for polynomial in inner]
EXP = [0] * 65535
for number in range(1, 65536):
    EXP[LOG[number]] = number


def times(a, b):
    return EXP[(LOG[a] + LOG[b]) % 65535] if a and b else 0


def over(a, b):
    return EXP[(LOG[a] - LOG[b]) % 65535] if a else 0


def generator(recovery, shards):
    """The factor of each shard in each recovery shard: scale[shard] / (row ^ (width + shard))."""
    width = 1 << (recovery - 1).bit_length()
    whole = 1
    for element in range(1, width):
        whole = times(whole, element)
    scale, of_group = [], {}
    for number in range(shards):
        group = (width + number) // width * width
        if group not in of_group:
            product = 1
            for element in range(group, group + width):
                product = times(product, element)
            of_group[group] = over(product, whole)
        scale.append(of_group[group])
    return lambda row, shard: over(scale[shard], row ^ (width + shard))


def elements(shard):
    """In each 64 bytes, 32 low bytes come before their 32 high bytes."""
    return [shard[at + i] | shard[at + 32 + i] << 8 for at in range(0, len(shard), 64) for i in range(32)]


def to_bytes(row):
    parts = (row[at : at + 32] for at in range(0, len(row), 32))
    return b"".join(bytes(e & 255 for e in part) + bytes(e >> 8 for e in part) for part in parts)


def block_of(parity):
    """The block at the head or at the tail, whichever is sound."""
    at = len(parity) - 12 - int.from_bytes(parity[-12:-8], "little")
    for start in (0, max(at, 0)):
        if parity[start : start + 12] == b"\x89IBTPRTY\1\0\0\0":
            length = int.from_bytes(parity[start + 12 : start + 16], "little")
            block = parity[start : start + length]
            if blake3(block[:-32]) == block[-32:]:
                return block
    sys.exit("it is no parity file, or both of its ends are damaged")


def main(path, parity_path, mended_path):
    parity = open(parity_path, "rb").read()
    block = block_of(parity)
    files, count, recovery, groups, size = struct.unpack_from("<IIIIQ", block, 16)
    at, members = 40, []
    for _ in range(files):
        length, name = struct.unpack_from("<QH", block, at)
        members.append((length, block[at + 10 : at + 10 + name].decode()))
        at += 10 + name
    hashes = [block[at + 16 * n : at + 16 * n + 16] for n in range(count + recovery)]
    shards, wanted = [], None
    for length, name in members:
        ours = name in ("", os.path.basename(path))
        place = path if ours else os.path.join(os.path.dirname(path), name)
        data = open(place, "rb").read(length) if os.path.exists(place) else b""
        wanted = (len(shards), length) if ours else wanted
        for start in range(0, length, size):
            expected = min(size, length - start)
            shard = data[start : start + size]
            right = len(shard) == expected and blake3(shard)[:16] == hashes[len(shards)]
            shards.append([elements(shard.ljust(size, b"\0")) if right else None, expected])
    if wanted is None:
        sys.exit("the parity is not of this file")
    rows = [parity[len(block) + n * size :][:size] for n in range(recovery)]
    sound = [n for n in range(recovery) if blake3(rows[n])[:16] == hashes[count + n]]
    for group in range(groups):  # Shard number n is in group n modulo groups, and the others of it come before or after it.
        solve(shards[group::groups], [n // groups for n in sound if n % groups == group],
              rows[group::groups], hashes[group:count:groups])
    first, length = wanted
    own = shards[first : first + -(-length // size)]
    with open(mended_path, "wb") as out:
        out.write(b"".join(to_bytes(row)[:there] for row, there in own))


def solve(shards, sound, rows, hashes):
    """Makes again what is lost of a group."""
    lost = [n for n, shard in enumerate(shards) if shard[0] is None]
    if len(lost) > len(sound):
        sys.exit(f"{len(lost)} of {len(shards)} shards are damaged, and the parity mends at most {len(sound)}")
    factor = generator(len(rows), len(shards)) if lost else None
    # One equation for each lost shard: what is known goes to the right side.
    equations = []
    for row in sound[: len(lost)]:
        right = elements(rows[row])
        for n, (known, _) in enumerate(shards):
            if known is not None:
                log = LOG[factor(row, n)]
                right = [r ^ EXP[(LOG[k] + log) % 65535] if k else r for r, k in zip(right, known)]
        equations.append(([factor(row, n) for n in lost], right))
    for pivot in range(len(lost)):  # Every square part of the matrix can be inverted: no pivot is 0.
        left, right = equations[pivot]
        by = left[pivot]
        equations[pivot] = left, right = [over(x, by) for x in left], [over(x, by) for x in right]
        for other in range(len(lost)):
            by = equations[other][0][pivot]
            if other != pivot and by:
                equations[other] = tuple([a ^ times(by, b) for a, b in zip(mine, pivots)]
                                         for mine, pivots in zip(equations[other], (left, right)))
    for n, (_, solved) in zip(lost, equations):
        shards[n][0] = solved
        if blake3(to_bytes(solved)[: shards[n][1]])[:16] != hashes[n]:
            sys.exit("the mended bytes are not those that were protected")


if __name__ == "__main__":
    main(*sys.argv[1:])
