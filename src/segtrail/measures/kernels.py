"""The compiled loops of `calibration` and `errors`. Compiled once and cached on disk; one thread, without the
GIL."""

import numba
import numpy as np

SLACK = 1e-3  # what a probability may exceed one by
CHUNK = 2048  # voxels at a time in the kernel
LANES = 64  # clip^(CHUNK / LANES) must not underflow: SMALLEST_CLIP^32 = 1e-288
SMALLEST_CLIP = 1e-9


@numba.njit(cache=True, nogil=True)
def widen(halves, bits, out):  # type: ignore[no-untyped-def]
    """float16 to float32, several times as fast as numpy's conversion, for values from 0 on.

    What is below 0, infinite or NaN becomes a number above 65535, which is no probability either.

    halves: (n,) uint16, the float16 bit patterns. out: (n,) float32, and `bits` the same memory as uint32.
    """
    for i in range(halves.size):  # the exponent's bias is 15 in one format and 127 in the other
        bits[i] = (np.uint32(halves[i]) << np.uint32(13)) + np.uint32((127 - 15) << 23)
    for i in range(halves.size):
        h = halves[i]
        no_exponent = (h < 0x400) | (h == 0x8000)  # subnormal, 0 or −0
        out[i] = np.float32(h & 0x3FF) * np.float32(2.0**-24) if no_exponent else out[i]


@numba.njit(cache=True, nogil=True)
def add_voxels(  # type: ignore[no-untyped-def]
    sums, size, y, inside, edges, clip, label,
    n, log_loss, squared_error, bin_n, bin_confidence, bin_correct,
    predicted, true_positive, entropy,
):  # fmt: skip
    """Adds V voxels to a tally's arrays but `reference`, writes `label` (V,), returns how many are bad.

    sums: (K, V) float32, the sums over `size` members. y: (V,) uint8. inside: the indices of the voxels
    in the box, ascending.
    Many short loops over a chunk that stays in the cache, each without branches: the compiler turns them
    into vector instructions.
    """
    classes, voxels = sums.shape
    zero, one, limit = np.float32(0), np.float32(1), np.float32(1 + SLACK)
    confidence = np.empty(CHUNK, np.float32)
    p_true = np.empty(CHUNK, np.float32)
    error = np.empty(CHUNK, np.float32)
    correct = np.empty(CHUNK, np.uint8)
    chosen = np.empty(CHUNK, np.int64)
    bad = 0
    first = 0
    for start in range(0, voxels, CHUNK):
        count = min(CHUNK, voxels - start)
        part = slice(start, start + count)  # slices: an index that is a sum is checked and not vectorised
        truth, best = y[part], label[part]
        for i in range(count):
            confidence[i] = -one
            error[i] = zero
        for k in range(classes):
            values = sums[k, part]
            for i in range(count):
                mean = values[i] / size
                bad += not (mean >= zero and mean <= limit)
                mean = min(mean, one)
                is_true = truth[i] == k
                p_true[i] = mean if is_true else p_true[i]
                difference = mean - (one if is_true else zero)
                error[i] += difference * difference
                larger = mean > confidence[i]
                confidence[i] = mean if larger else confidence[i]
                best[i] = k if larger else best[i]
        if bad:
            return bad

        right = 0
        for i in range(count):
            correct[i] = best[i] == truth[i]
            right += correct[i]
        found = 0
        for i in range(count):
            chosen[found] = i
            found += best[i] > 0
        predicted[0] += count - found
        true_positive[0] += right
        for j in range(found):
            i = chosen[j]
            k = best[i]
            predicted[k] += 1
            true_positive[k] += correct[i]
            true_positive[0] -= correct[i]
            c = np.float64(confidence[i])
            if c < 1:
                entropy[k] -= c * np.log(c) + (1 - c) * np.log(1 - c)

        _add_region(
            confidence, p_true, error, correct, chosen, count, 0, edges, clip,
            n, log_loss, squared_error, bin_n, bin_confidence, bin_correct,
        )  # fmt: skip
        stop = first
        while stop < len(inside) and inside[stop] < start + count:
            stop += 1
        if stop > first:
            for j in range(stop - first):  # those in the box come first; the others are not needed any more
                i = inside[first + j] - start
                confidence[j] = confidence[i]
                p_true[j] = p_true[i]
                error[j] = error[i]
                correct[j] = correct[i]
            _add_region(
                confidence, p_true, error, correct, chosen, stop - first, 1, edges, clip,
                n, log_loss, squared_error, bin_n, bin_confidence, bin_correct,
            )  # fmt: skip
        first = stop
    return bad


@numba.njit(cache=True, nogil=True)
def _add_region(  # type: ignore[no-untyped-def]
    confidence, p_true, error, correct, chosen, count, region, edges, clip,
    n, log_loss, squared_error, bin_n, bin_confidence, bin_correct,
):  # fmt: skip
    """Adds the first `count` ≤ CHUNK voxels to one region; `chosen` (CHUNK,) is scratch."""
    bins = len(edges) - 1
    last = edges[bins - 1]
    # Lanes: sums that do not wait for one another. ln Π instead of Σ ln: one logarithm for many voxels.
    rows = (count + LANES - 1) // LANES
    for i in range(count, rows * LANES):
        confidence[i], p_true[i], error[i] = 0, 1, 0
    confidences = confidence.reshape(-1, LANES)
    p_trues = p_true.reshape(-1, LANES)
    errors = error.reshape(-1, LANES)
    product = np.ones(LANES)
    error_sum = np.zeros(LANES)
    sure = np.zeros(LANES)
    for row in range(rows):
        for lane in range(LANES):
            product[lane] *= max(np.float64(p_trues[row, lane]), clip)
            error_sum[lane] += errors[row, lane]
            c = confidences[row, lane]
            sure[lane] += c if c > last else np.float32(0)
    for lane in range(LANES):
        log_loss[region] -= np.log(product[lane])
        squared_error[region] += error_sum[lane]
        bin_confidence[region, bins - 1] += sure[lane]

    # Most voxels are in the last bin: those are counted at once, the others one by one.
    in_last, correct_in_last = 0, 0
    for i in range(count):
        in_last += confidence[i] > last
        correct_in_last += (confidence[i] > last) & correct[i]
    n[region] += count
    bin_n[region, bins - 1] += in_last
    bin_correct[region, bins - 1] += correct_in_last
    if in_last == count:
        return
    found = 0
    for i in range(count):
        chosen[found] = i
        found += confidence[i] <= last
    for j in range(found):
        i = chosen[j]
        c = confidence[i]
        b = min(int(c * np.float32(bins)), bins - 1)
        if c <= edges[b] and b > 0:
            b -= 1
        elif c > edges[b + 1]:
            b += 1
        bin_n[region, b] += 1
        bin_confidence[region, b] += c
        bin_correct[region, b] += correct[i]


# The sums may be added up in any order, so that the compiler can do several at a time.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def add_errors(  # type: ignore[no-untyped-def]
    p, u, predicted, y, inside, thresholds, edges, bin_n, bin_p, bin_positive, counts, u_sum
):  # fmt: skip
    """Adds V voxels to the arrays of an `ErrorCounts`, returns how many are bad.

    p, u, thresholds: float32. predicted, y: uint8, 0 or 1. inside: uint8, 1 in the mask. edges: float64.
    """
    voxels, bins, levels = p.size, len(edges) - 1, len(thresholds)
    zero, one, lowest, first = np.float32(0), np.float32(1), thresholds[0], edges[1]
    bad = 0
    plain = np.empty(voxels, np.uint8)
    for i in range(voxels):
        bad += not ((p[i] >= zero) & (p[i] <= one) & (u[i] >= zero) & (u[i] <= one))
        plain[i] = (p[i] < first) & (u[i] <= lowest) & ((predicted[i] | y[i]) == 0)
    if bad:
        return bad

    # Most voxels are certain, right, background and in the first bin: those are counted at once, the others
    # one by one.
    n, n_in = 0, 0
    p_all, p_in, u_all, u_in = np.float64(0), np.float64(0), np.float64(0), np.float64(0)
    for i in range(voxels):
        both = plain[i] & inside[i]
        n += plain[i]
        n_in += both
        p_all += p[i] if plain[i] else zero
        u_all += u[i] if plain[i] else zero
        p_in += p[i] if both else zero
        u_in += u[i] if both else zero
    counts[0, 2] += n
    bin_n[0, 0] += n
    bin_n[1, 0] += n_in
    bin_p[0, 0] += p_all
    bin_p[1, 0] += p_in
    u_sum[0] += u_all
    u_sum[1] += u_in
    if n == voxels:
        return bad

    others = np.empty(voxels, np.int64)
    found = 0
    for i in range(voxels):
        others[found] = i
        found += 1 - plain[i]
    for j in range(found):
        i = others[j]
        b = min(int(p[i] * np.float32(bins)), bins - 1)
        if p[i] < edges[b]:
            b -= 1
        elif p[i] >= edges[b + 1]:
            b += 1
        level = 0
        while level < levels and u[i] > thresholds[level]:
            level += 1
        # true positive, false positive, true negative, false negative
        kind = (0 if predicted[i] else 3) if y[i] else (1 if predicted[i] else 2)
        counts[level, kind] += 1
        for region in range(1 + inside[i]):
            bin_n[region, b] += 1
            bin_p[region, b] += p[i]
            bin_positive[region, b] += y[i]
            u_sum[region] += u[i]
    return bad
