/* What a CPU does in one pass over its memory, with numpy's and torch's numbers to the last bit: see compiled.py. */

#include <stddef.h>
#include <stdint.h>

/* Compiled for wider registers, too, which a processor takes where it has them; no number depends on it. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#define AVX512 __attribute__((target("avx512f")))
/* A product and its sum in one rounding where the processor can, as torch has it. By other compilers and on other
   processors they have two, which `descent` of compiled.py notices. */
#define ONE_ROUNDING __attribute__((target_clones("fma", "default"), optimize("fp-contract=fast")))
#else
#define WIDE
#define WIDEST
#define ONE_ROUNDING
#endif

static const uint64_t M0 = 0xD2E7470EE14C6C93u, M1 = 0xCA5A826395121157u; /* of Philox: factors, */
static const uint64_t W0 = 0x9E3779B97F4A7C15u, W1 = 0xBB67AE8584CAA73Bu; /* and what a round adds to the key */

enum {
    WORDS = 4,                     /* of a counter, 64 bits each */
    NUMBERS = 16,                  /* of a counter, 16 bits each, lowest first */
    BLOCKS = 16,                   /* counters drawn at once: their numbers stay in the nearest cache */
    AT_ONCE = BLOCKS * NUMBERS,
    BITS = 32,                     /* images whose masks share a word */
    NEAR = 2048,                   /* floats of which three arrays stay in the nearest cache */
    LANES = 32,                    /* sums of which a product of masked weights is made */
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
            unsigned __int128 p0 = (unsigned __int128)M0 * c0;
            unsigned __int128 p1 = (unsigned __int128)M1 * c2;
            c0 = (uint64_t)(p1 >> 64) ^ c1 ^ w0;
            c1 = (uint64_t)p1;
            c2 = (uint64_t)(p0 >> 64) ^ c3 ^ w1;
            c3 = (uint64_t)p0;
            w0 += W0;
            w1 += W1;
        }
        out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
    }
}

#ifdef AVX512
typedef uint64_t Eight __attribute__((vector_size(64)));

/* Of the lower halves, in one instruction; <immintrin.h>, which has another name for it, takes long to compile. */
AVX512 static inline Eight product32(Eight a, Eight b)
{
    typedef int Sixteen __attribute__((vector_size(64)));
    typedef long long Words __attribute__((vector_size(64)));
    return (Eight)__builtin_ia32_pmuludq512_mask((Sixteen)a, (Sixteen)b, (Words){0}, 0xFF);
}

/* a * b: the lower word, and the higher one in `high`. */
AVX512 static inline Eight product64(Eight a, uint64_t b, Eight *high)
{
    const Eight zero = {0}, lower = zero + UINT32_MAX, b0 = zero + (b & UINT32_MAX), b1 = zero + (b >> 32);
    Eight a1 = a >> 32, least = product32(a, b0), middle = product32(a1, b0) + (least >> 32);
    Eight other = product32(a, b1) + (middle & lower);
    *high = product32(a1, b1) + (middle >> 32) + (other >> 32);
    return other << 32 | (least & lower);
}

/* `philox_by_word` in two thirds of the time: eight counters side by side, and twice that, as a round waits for the
   one before. Of the first two rounds' products one has a factor 0, and one is the same for all counters. */
AVX512 static void philox_avx512(Eight out[WORDS][2], uint64_t k0, uint64_t k1, uint64_t step, uint64_t start)
{
    const unsigned __int128 same = (unsigned __int128)M0 * (step ^ k0);
    Eight c[WORDS][2], high0, high1;
    for (int i = 0; i < 2; i++) {
        Eight low0 = product64(start + 1 + 8 * i + (Eight){0, 1, 2, 3, 4, 5, 6, 7}, M0, &high0);
        c[1][i] = product64(high0 ^ k1, M1, &high1);
        c[0][i] = high1 ^ (k0 + W0);
        c[2][i] = low0 ^ (uint64_t)(same >> 64) ^ (k1 + W1);
        c[3][i] = (Eight){0} + (uint64_t)same;
    }
    for (int round = 2; round < 10; round++)
        for (int i = 0; i < 2; i++) {
            Eight low0 = product64(c[0][i], M0, &high0), low1 = product64(c[2][i], M1, &high1);
            c[0][i] = high1 ^ c[1][i] ^ (k0 + round * W0);
            c[1][i] = low1;
            c[2][i] = high0 ^ c[3][i] ^ (k1 + round * W1);
            c[3][i] = low0;
        }
    for (int word = 0; word < WORDS; word++)
        out[word][0] = c[word][0], out[word][1] = c[word][1];
}

/* What `philox` gives, from the words that `philox_avx512` has side by side. */
AVX512 static void draw_avx512(Drawn *out, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start)
{
    Eight c[WORDS][2], *next = (Eight *)out->words;
    philox_avx512(c, k0, k1, step, start);
    for (int i = 0; i < 2; i++)
        for (int half = 0; half < 2; half++) {
            const Eight pairs = (Eight){0, 8, 1, 9, 2, 10, 3, 11} + 4 * half;
            Eight first = __builtin_shuffle(c[0][i], c[1][i], pairs), second = __builtin_shuffle(c[2][i], c[3][i], pairs);
            *next++ = __builtin_shuffle(first, second, (Eight){0, 1, 8, 9, 2, 3, 10, 11});
            *next++ = __builtin_shuffle(first, second, (Eight){4, 5, 12, 13, 6, 7, 14, 15});
        }
}
#endif

/* What `philox` gives, all counters' first words first. */
static void philox_by_word(uint64_t *out, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start)
{
#ifdef AVX512
    if (__builtin_cpu_supports("avx512f")) {
        philox_avx512((Eight(*)[2])out, k0, k1, step, start);
        return;
    }
#endif
    uint64_t words[BLOCKS * WORDS];
    philox(words, BLOCKS, k0, k1, step, start);
    for (size_t i = 0; i < BLOCKS * WORDS; i++)
        out[i % WORDS * BLOCKS + i / WORDS] = words[i];
}

/* What `philox` gives for BLOCKS counters, in the order in which numpy has it. */
static void draw(Drawn *out, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start)
{
#ifdef AVX512
    if (__builtin_cpu_supports("avx512f")) {
        draw_avx512(out, k0, k1, step, start);
        return;
    }
#endif
    philox(out->words, BLOCKS, k0, k1, step, start);
}

/* `scale` where the next 16-bit number is below the threshold, else 0. */
WIDE void factors(float *out, size_t count, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start,
                  uint32_t threshold, float scale)
{
    for (size_t first = 0; first < count; first += AT_ONCE, start += BLOCKS) {
        _Alignas(LINE) Drawn drawn;
        size_t part = count - first < AT_ONCE ? count - first : AT_ONCE;
        draw(&drawn, k0, k1, step, start);
        for (size_t i = 0; i < part; i++)
            out[first + i] = drawn.numbers[i] < threshold ? scale : 0;
    }
}

/* Of the next 16-bit numbers what the table has in their place. */
WIDE void look_up(float *out, size_t count, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start, const float *table)
{
    for (size_t first = 0; first < count; first += AT_ONCE, start += BLOCKS) {
        _Alignas(LINE) Drawn drawn;
        size_t part = count - first < AT_ONCE ? count - first : AT_ONCE;
        draw(&drawn, k0, k1, step, start);
        for (size_t i = 0; i < part; i++)
            out[first + i] = table[drawn.numbers[i]];
    }
}

/* Bit k of row g = 1 where the number of image 32 g + k is below the threshold, which is not 0, else 0; each image has
   `count` numbers, a multiple of 16. */
WIDE void keep_bits(uint32_t *out, size_t images, size_t count, uint64_t k0, uint64_t k1, uint64_t step,
                    uint64_t start, uint32_t threshold)
{
    const uint16_t highest = (uint16_t)(threshold - 1); /* in 16 bits a register compares twice as many */
    for (size_t image = 0; image < images; image += BITS, out += count)
        for (size_t first = 0; first < count; first += AT_ONCE) {
            _Alignas(LINE) uint16_t halves[2][AT_ONCE] = {{0}};
            for (size_t k = 0; k < BITS && image + k < images; k++) {
                _Alignas(LINE) Drawn drawn;
                uint16_t *half = halves[k / 16], bit = (uint16_t)(1 << k % 16);
                philox_by_word(drawn.words, k0, k1, step, start + ((image + k) * count + first) / NUMBERS);
                for (size_t i = 0; i < AT_ONCE; i++)
                    half[i] |= bit & -(drawn.numbers[i] <= highest);
            }
            uint32_t *next = out + first;
            for (size_t block = 0; block < BLOCKS && first + block * NUMBERS < count; block++)
                for (size_t word = 0; word < WORDS; word++)
                    for (size_t i = 0; i < NUMBERS / WORDS; i++) {
                        size_t at = (word * BLOCKS + block) * (NUMBERS / WORDS) + i;
                        *next++ = halves[0][at] | (uint32_t)halves[1][at] << 16;
                    }
        }
}

/* h = h * keep * scale. */
WIDE void drop(float *h, size_t count, uint64_t k0, uint64_t k1, uint64_t step, uint64_t start, uint32_t threshold,
          float scale)
{
    _Alignas(LINE) Drawn drawn;
    float factor[AT_ONCE]; /* in one loop with the product the compiler would branch at each number */
    for (size_t first = 0; first < count; first += AT_ONCE, start += BLOCKS) {
        size_t part = count - first < AT_ONCE ? count - first : AT_ONCE;
        draw(&drawn, k0, k1, step, start);
        for (size_t i = 0; i < AT_ONCE; i++)
            factor[i] = drawn.numbers[i] < threshold ? scale : 0;
        for (size_t i = 0; i < part; i++)
            h[first + i] *= factor[i];
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

ONE_ROUNDING static void add_scaled(float *restrict y, const float *restrict x, size_t count, float factor)
{
    for (size_t i = 0; i < count; i++)
        y[i] += factor * x[i];
}

WIDEST static void add_to_scaled(float *restrict v, const float *restrict g, size_t count, float factor)
{
    for (size_t i = 0; i < count; i++)
        v[i] = factor * v[i] + g[i];
}

/* g += decay * w, unless decay is 0; v = momentum * v + g; w -= lr * v. */
void descend(float *w, float *v, float *g, size_t count, float momentum, float decay, float lr)
{
    for (size_t first = 0; first < count; first += NEAR, w += NEAR, v += NEAR, g += NEAR) {
        size_t part = count - first < NEAR ? count - first : NEAR;
        if (decay != 0)
            add_scaled(g, w, part, decay);
        add_to_scaled(v, g, part, momentum);
        add_scaled(w, v, part, -lr);
    }
}

/* z_i = (M_i * W) x_i of the masks of `keep_bits`: every LANES-th product to one sum, then sums by halves. */
WIDEST void masked_product(float *z, const uint32_t *kept, const float *W, const float *x, size_t images, size_t out,
                           size_t in)
{
    for (size_t first = 0; first < images; first += BITS, kept += out * in)
        for (size_t o = 0; o < out; o++)
            for (size_t i = first; i < images && i < first + BITS; i++) {
                const uint32_t *words = kept + o * in, bit = (uint32_t)1 << i % BITS;
                const float *w = W + o * in, *pixels = x + i * in;
                float sums[LANES] = {0};
                size_t j = 0;
                for (; j + LANES <= in; j += LANES)
                    for (size_t l = 0; l < LANES; l++)
                        sums[l] += (words[j + l] & bit ? 1.0f : 0.0f) * w[j + l] * pixels[j + l];
                for (size_t l = 0; j + l < in; l++)
                    sums[l] += (words[j + l] & bit ? 1.0f : 0.0f) * w[j + l] * pixels[j + l];
                for (size_t l = 0; l < LANES / 2; l++)
                    sums[l] += sums[l + LANES / 2];
                for (size_t l = 0; l < LANES / 4; l++)
                    sums[l] += sums[l + LANES / 4];
                for (size_t l = 0; l < LANES / 8; l++)
                    sums[l] += sums[l + LANES / 8];
                z[i * out + o] = (sums[0] + sums[2]) + (sums[1] + sums[3]);
            }
}

/* dW += M_i * (delta_i x_i^T), image by image; dx_i += (M_i * W)^T delta_i, output by output, unless dx is NULL. */
WIDEST void masked_gradients(float *restrict dx, float *restrict dW, const uint32_t *kept, const float *W,
                             const float *x, const float *delta, size_t images, size_t out, size_t in)
{
    for (size_t first = 0; first < images; first += BITS, kept += out * in)
        for (size_t o = 0; o < out; o++)
            for (size_t i = first; i < images && i < first + BITS; i++) {
                const uint32_t *words = kept + o * in, bit = (uint32_t)1 << i % BITS;
                const float *w = W + o * in, *pixels = x + i * in, d = delta[i * out + o];
                float *restrict into_w = dW + o * in, *restrict into_x = dx ? dx + i * in : NULL;
                if (dx)
                    for (size_t j = 0; j < in; j++) {
                        float mask = words[j] & bit ? 1.0f : 0.0f;
                        into_w[j] += mask * pixels[j] * d;
                        into_x[j] += mask * w[j] * d;
                    }
                else
                    for (size_t j = 0; j < in; j++)
                        into_w[j] += (words[j] & bit ? 1.0f : 0.0f) * pixels[j] * d;
            }
}
