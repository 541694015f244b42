// numpy.random.RandomState(seed).randn(count) of many seeds, to the bit: the Mersenne twister of LANES seeds at once, one
// in each lane of the vectors, and Marsaglia's polar method, whose rejections make the lanes drift apart.
//
// References: Matsumoto and Nishimura 1998 (the twister); Marsaglia and Bray 1964 (the polar method); Harris et al. 2020
// (numpy), whose legacy generator fixes the order of the numbers: of a pair (x1, x2) the second comes first.
#include "dispatch.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

constexpr int LANES = 16;
constexpr int WORDS = 624;   // of a twister's state
constexpr int AHEAD = 397;
constexpr int CHUNK = 128;   // pairs of a lane that wait for their logarithms

struct alignas(64) Group {
  uint32_t state[WORDS][LANES];
  int place;
  double x1[LANES][CHUNK], x2[LANES][CHUNK], squares[LANES][CHUNK];
  int waiting[LANES];
  int64_t written[LANES];
};

void seed(Group& g, const int64_t* seeds, int64_t n) {
  for (int lane = 0; lane < LANES; lane++) {
    g.state[0][lane] = static_cast<uint32_t>(seeds[lane < n ? lane : 0]);
    g.waiting[lane] = 0;
    g.written[lane] = 0;
  }
  for (int i = 1; i < WORDS; i++) {
    for (int lane = 0; lane < LANES; lane++) {
      const uint32_t before = g.state[i - 1][lane];
      g.state[i][lane] = 1812433253u * (before ^ (before >> 30)) + static_cast<uint32_t>(i);
    }
  }
  g.place = 0;
}

// The next word of each lane. A word of the state is renewed when its turn comes, not all of them at once: the first
// numbers of a stream are all that is wanted of it.
void next_words(Group& g, uint32_t* __restrict__ words) {
  const int place = g.place, next = place + 1 == WORDS ? 0 : place + 1;
  const uint32_t* ahead = g.state[place + AHEAD < WORDS ? place + AHEAD : place + AHEAD - WORDS];
  uint32_t* own = g.state[place];
  const uint32_t* following = g.state[next];
  for (int lane = 0; lane < LANES; lane++) {
    const uint32_t joined = (own[lane] & 0x80000000u) | (following[lane] & 0x7fffffffu);
    uint32_t word = ahead[lane] ^ (joined >> 1) ^ ((0u - (joined & 1u)) & 0x9908b0dfu);
    own[lane] = word;
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680u;
    word ^= (word << 15) & 0xefc60000u;
    word ^= word >> 18;
    words[lane] = word;
  }
  g.place = next;
}

// A number in [-1, 1) of each lane, from 53 bits of two words.
void next_uniform(Group& g, double* __restrict__ x) {
  alignas(64) uint32_t high[LANES], low[LANES];
  next_words(g, high);
  next_words(g, low);
  for (int lane = 0; lane < LANES; lane++) {
    const double a = static_cast<int32_t>(high[lane] >> 5), b = static_cast<int32_t>(low[lane] >> 6);
    x[lane] = 2.0 * ((a * 67108864.0 + b) * (1.0 / 9007199254740992.0)) - 1.0;
  }
}

// Writes what waits in a lane, as far as its numbers are still wanted.
template <class T>
void flush(Group& g, int lane, T* result, int64_t count) {
  double* squares = g.squares[lane];
  const int n = g.waiting[lane];
  g.waiting[lane] = 0;
  if (g.written[lane] >= count) return;
  double logarithms[CHUNK];
  for (int i = 0; i < n; i++) logarithms[i] = ::log(squares[i]);  // libm's, which numpy calls
  for (int i = 0; i < n; i++) squares[i] = square_root(-2.0 * logarithms[i] / squares[i]);
  T* out = result + g.written[lane];
  const int64_t left = count - g.written[lane];
  const int whole = static_cast<int>(least(n, left / 2));
  for (int i = 0; i < whole; i++) {
    out[2 * i] = static_cast<T>(squares[i] * g.x2[lane][i]);
    out[2 * i + 1] = static_cast<T>(squares[i] * g.x1[lane][i]);
  }
  if (whole < n && 2 * whole < left) out[2 * whole] = static_cast<T>(squares[whole] * g.x2[lane][whole]);
  g.written[lane] += 2 * n;
}

// Whether a pair is taken is one in 1.27: no branch, for none could be foreseen.
template <class T>
void fill(Group& g, const int64_t* seeds, int64_t n, T* result, int64_t count) {
  seed(g, seeds, n);
  alignas(64) double x1[LANES], x2[LANES], squares[LANES];
  for (int64_t done = 0; done < count;) {
    next_uniform(g, x1);
    next_uniform(g, x2);
    for (int lane = 0; lane < LANES; lane++) squares[lane] = x1[lane] * x1[lane] + x2[lane] * x2[lane];
    int fullest = 0;
    int64_t fewest = count;
    for (int lane = 0; lane < LANES; lane++) {
      const int at = g.waiting[lane];
      g.x1[lane][at] = x1[lane];
      g.x2[lane][at] = x2[lane];
      g.squares[lane][at] = squares[lane];
      g.waiting[lane] = at + ((squares[lane] < 1.0) & (squares[lane] != 0.0));
      fullest = g.waiting[lane] > fullest ? g.waiting[lane] : fullest;
      fewest = least(fewest, g.written[lane] + 2 * g.waiting[lane]);
    }
    done = fewest;
    if (fullest == CHUNK || done >= count) {
      for (int64_t lane = 0; lane < n; lane++) flush(g, static_cast<int>(lane), result + lane * count, count);
      for (int64_t lane = n; lane < LANES; lane++) {
        g.written[lane] += 2 * g.waiting[lane];
        g.waiting[lane] = 0;
      }
    }
  }
}

template <class T>
void groups(const SeededNormalArguments& a, int64_t begin, int64_t end) {
  Group g;
  for (int64_t group = begin; group < end; group++) {
    const int64_t first = group * LANES;
    fill(g, a.seeds + first, least(LANES, a.n - first), static_cast<T*>(a.result) + first * a.count, a.count);
  }
}

}  // namespace

void run(const SeededNormalArguments& a) {
  const int64_t size = LANES * (a.count + WORDS) * 4;  // a number takes as long as some that are only copied
  parallel(blocks(a.n, LANES), size, [&](int64_t begin, int64_t end) {
    if (a.type == FLOAT64) {
      groups<double>(a, begin, end);
    } else {
      groups<float>(a, begin, end);
    }
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
