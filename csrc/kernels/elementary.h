// exp, expm1 and log1p. In float they are polynomials that a compiler can vectorise; in double they are libm's.
#pragma once

#include "number.h"

namespace invert {
namespace INVERT_ISA {

// x = n ln 2 + r with |r| <= ln 2 / 2; gives 2^n and e^r - 1. Clipped to where 2^n is a normal number.
INVERT_INLINE float reduce_exponent(float x, float& power) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const float shifted = multiply_add(x, 1.44269504f, shifter);
  const float n = shifted - shifter;
  power = from_bits((to_bits(shifted) << 23) + 0x3f800000u);
  float r = multiply_add(n, -0.693359375f, x);
  r = multiply_add(n, 2.12194440e-4f, r);
  float p = 1.0f / 5040;
  p = multiply_add(p, r, 1.0f / 720);
  p = multiply_add(p, r, 1.0f / 120);
  p = multiply_add(p, r, 1.0f / 24);
  p = multiply_add(p, r, 1.0f / 6);
  p = multiply_add(p, r, 0.5f);
  return multiply_add(p * r, r, r);
}

INVERT_INLINE float exponential(float x) {
  float power;
  const float p = reduce_exponent(x, power);
  return x > 88.0f ? INFINITY : multiply_add(power, p, power);
}

INVERT_INLINE float exponential_minus_one(float x) {
  float power;
  const float p = reduce_exponent(x, power);
  return multiply_add(power, p, power - 1.0f);
}

// log(1 + x) = 2 artanh(x / (2 + x)), for x in [0, 1].
INVERT_INLINE float log_one_plus(float x) {
  const float s = x / (2.0f + x);
  const float q = s * s;
  float p = 1.0f / 13;
  p = multiply_add(p, q, 1.0f / 11);
  p = multiply_add(p, q, 1.0f / 9);
  p = multiply_add(p, q, 1.0f / 7);
  p = multiply_add(p, q, 1.0f / 5);
  p = multiply_add(p, q, 1.0f / 3);
  return 2.0f * multiply_add(p * q, s, s);
}

INVERT_INLINE double exponential(double x) { return ::exp(x); }
INVERT_INLINE double exponential_minus_one(double x) { return ::expm1(x); }
INVERT_INLINE double log_one_plus(double x) { return ::log1p(x); }

}  // namespace INVERT_ISA
}  // namespace invert
