// Number types and the few operations on them that every kernel is made of.
//
// Everything here and in the other headers of this folder is inlined into the namespace of the instruction set it is
// compiled for: one library holds the same kernels several times, and the linker must never mix them up.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "arguments.h"

#if defined(__CUDACC__)
#define INVERT_INLINE __host__ __device__ __forceinline__
#else
#define INVERT_INLINE inline __attribute__((always_inline))
#endif

#ifndef INVERT_ISA
#define INVERT_ISA baseline
#endif

namespace invert {
namespace INVERT_ISA {

struct half {
  uint16_t bits;
};
struct bfloat16 {
  uint16_t bits;
};

// The type that sums are made in.
template <class T>
struct wide_type {
  using type = float;
};
template <>
struct wide_type<double> {
  using type = double;
};
template <class T>
using wide = typename wide_type<T>::type;

INVERT_INLINE uint32_t to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

INVERT_INLINE float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

INVERT_INLINE float load(float x) { return x; }
INVERT_INLINE double load(double x) { return x; }
INVERT_INLINE float load(bfloat16 x) { return from_bits(static_cast<uint32_t>(x.bits) << 16); }

INVERT_INLINE float load(half x) {
  const uint32_t magnitude = (x.bits & 0x7fffu) << 13;
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t normal = magnitude + (112u << 23);  // half's exponent bias is 15, float's 127
  const uint32_t special = magnitude + (224u << 23);  // infinity and NaN
  const uint32_t subnormal = to_bits(from_bits(magnitude + (113u << 23)) - 6.103515625e-05f);  // 2^-14
  const uint32_t finite = magnitude < (0x0400u << 13) ? subnormal : normal;
  return from_bits(sign | (magnitude < (0x7c00u << 13) ? finite : special));
}

// Rounds to nearest, ties to even, as the hardware does.
template <class T>
struct store_as;

template <>
struct store_as<float> {
  static INVERT_INLINE float from(float x) { return x; }
};
template <>
struct store_as<double> {
  static INVERT_INLINE double from(double x) { return x; }
};
template <>
struct store_as<bfloat16> {
  static INVERT_INLINE bfloat16 from(float x) {
    const uint32_t bits = to_bits(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded)};
  }
};
template <>
struct store_as<half> {
  static INVERT_INLINE half from(float x) {
    const uint32_t bits = to_bits(x);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t rounded = magnitude + 0x0fffu + ((magnitude >> 13) & 1u);
    const uint32_t normal = (rounded - (112u << 23)) >> 13;
    // One unit in the last place of 0.5 is half's smallest number: the addition rounds.
    const uint32_t subnormal = to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
    const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    return {static_cast<uint16_t>(sign | (rounded < 0x47800000u ? finite : special))};
  }
};

template <class T>
INVERT_INLINE T store(wide<T> x) {
  return store_as<T>::from(x);
}

// a * b + c, rounded once where the instruction set can. Compilers are told not to contract by themselves
// (-ffp-contract=off), so that an element's value does not depend on whether it fell into a vector or into the rest.
INVERT_INLINE float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return fmaf(a, b, c);
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

INVERT_INLINE double multiply_add(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return fma(a, b, c);
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

INVERT_INLINE float absolute(float x) { return from_bits(to_bits(x) & 0x7fffffffu); }
INVERT_INLINE double absolute(double x) { return x < 0 ? -x : x; }

#if defined(__CUDA_ARCH__)
INVERT_INLINE float square_root(float x) { return sqrtf(x); }
INVERT_INLINE double square_root(double x) { return sqrt(x); }
#else
INVERT_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
INVERT_INLINE double square_root(double x) { return __builtin_sqrt(x); }
#endif

INVERT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INVERT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INVERT_INLINE int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

// Calls f(T()) with the C++ type of a tensor's numbers.
template <class F>
void with_type(Number type, const F& f) {
  switch (type) {
    case FLOAT32:
      return f(float());
    case FLOAT64:
      return f(double());
    case FLOAT16:
      return f(half());
    case BFLOAT16:
      return f(bfloat16());
  }
}

}  // namespace INVERT_ISA
}  // namespace invert
