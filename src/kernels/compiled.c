/* What a CPU does in one pass over its memory, with numpy's and torch's numbers to the last bit: see compiled.py. */

#include <stddef.h>
#include <stdint.h>

/* Compiled for wider registers, too, which a processor takes where it has them; no number depends on it. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

enum {
    WORDS = 4,                     /* of a counter, 64 bits each */
    NUMBERS = 16,                  /* of a counter, 16 bits each, lowest first */
    BLOCKS = 16,                   /* counters drawn at once: their numbers stay in the nearest cache */
    AT_ONCE = BLOCKS * NUMBERS,
    AHEAD = 2,                     /* images by which the cache is filled before they are read */
    LINE = 64                      /* of the cache, in bytes */
};

typedef union {
    uint64_t words[BLOCKS * WORDS];
    uint16_t numbers[AT_ONCE];
} Drawn;

/* Philox4x64-10 of the counters (start + 1, step, 0, 0), (start + 2, step, 0, 0), ... as numpy counts them. */
void philox(uint64_t *out, size_t blocks, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start)
{
    for (size_t i = 0; i < blocks; i++, out += WORDS) {
        uint64_t c0 = start + 1 + i, c1 = step, c2 = 0, c3 = 0, w0 = k0, w1 = k1;
        for (int round = 0; round < 10; round++) {
            unsigned __int128 p0 = (unsigned __int128)0xD2E7470EE14C6C93u * c0;
            unsigned __int128 p1 = (unsigned __int128)0xCA5A826395121157u * c2;
            c0 = (uint64_t)(p1 >> 64) ^ c1 ^ w0;
            c1 = (uint64_t)p1;
            c2 = (uint64_t)(p0 >> 64) ^ c3 ^ w1;
            c3 = (uint64_t)p0;
            w0 += 0x9E3779B97F4A7C15u;
            w1 += 0xBB67AE8584CAA73Bu;
        }
        out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
    }
}

/* 1 where the next 16-bit number is below the threshold, else 0. */
WIDE void keep(uint8_t *out, size_t count, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start, uint32_t threshold)
{
    Drawn drawn;
    for (size_t first = 0; first < count; first += AT_ONCE, start += BLOCKS) {
        size_t part = count - first < AT_ONCE ? count - first : AT_ONCE;
        philox(drawn.words, BLOCKS, k0, k1, step, start);
        for (size_t i = 0; i < part; i++)
            out[first + i] = drawn.numbers[i] < threshold;
    }
}

/* h = h * keep * scale. */
WIDE void drop(float *h, size_t count, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start, uint32_t threshold,
          float scale)
{
    Drawn drawn;
    float factors[AT_ONCE]; /* in one loop with the product the compiler would branch at each number */
    for (size_t first = 0; first < count; first += AT_ONCE, start += BLOCKS) {
        size_t part = count - first < AT_ONCE ? count - first : AT_ONCE;
        philox(drawn.words, BLOCKS, k0, k1, step, start);
        for (size_t i = 0; i < AT_ONCE; i++)
            factors[i] = drawn.numbers[i] < threshold ? scale : 0;
        for (size_t i = 0; i < part; i++)
            h[first + i] *= factors[i];
    }
}

/* z = ReLU(z + b), rows of so many units; a NaN passes. */
WIDE void add_relu(float *z, const float *b, size_t count, size_t units)
{
    for (size_t i = 0; i < count; i++, z += units)
        for (size_t j = 0; j < units; j++) {
            float sum = z[j] + b[j];
            z[j] = sum < 0 ? 0 : sum;
        }
}

/* delta = delta where a unit is active, else 0; sums = its sum over the rows, one after the other. */
WIDE void relu_backward(float *delta, const float *active, float *sums, size_t count, size_t units)
{
    for (size_t j = 0; j < units; j++)
        sums[j] = 0;
    for (size_t i = 0; i < count; i++, delta += units, active += units)
        for (size_t j = 0; j < units; j++) {
            float passed = active[j] <= 0 ? 0 : delta[j];
            delta[j] = passed;
            sums[j] += passed;
        }
}

/* p = (p - 1 at each image's label) * scale, a row a class; sums = each row's sum, one after the other. */
WIDE void at_labels(float *p, const int64_t *labels, float *sums, size_t classes, size_t count, float scale)
{
    for (size_t j = 0; j < classes; j++, p += count) {
        for (size_t i = 0; i < count; i++)
            p[i] = (p[i] - (float)(labels[i] == (int64_t)j)) * scale;
        sums[j] = 0;
        for (size_t i = 0; i < count; i++)
            sums[j] += p[i];
    }
}

/* out[i] = images[index[i]] / scale, rows of so many features. */
WIDE void batch(float *out, const uint8_t *images, const int64_t *index, size_t count, size_t features, float scale)
{
    for (size_t i = 0; i < count; i++, out += features) {
        const uint8_t *image = images + (size_t)index[i] * features;
        if (i + AHEAD < count)
            for (size_t j = 0; j < features; j += LINE)
                __builtin_prefetch(images + (size_t)index[i + AHEAD] * features + j);
        for (size_t j = 0; j < features; j++)
            out[j] = (float)image[j] / scale;
    }
}
