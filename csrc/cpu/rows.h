// Steps that work on a row of numbers in the type sums are made in. Rows are short enough to stay in the first-level
// cache between steps, so that a kernel is one pass over memory although it is written as several loops.
#pragma once

#include "../kernels/activation.h"
#include "../kernels/arguments.h"
#include "parallel.h"

namespace invert {
namespace INVERT_ISA {

constexpr int64_t ROW = 8192;          // the longest row
constexpr int64_t UNIT = 131072;       // the largest unit of work
constexpr int64_t WORTHWHILE = 16384;  // numbers below which a second thread costs more than it brings

// Runs body(begin, end) over `units` units of about `size` numbers each.
template <class F>
void parallel(int64_t units, int64_t size, const F& body) {
  const auto call = [](int64_t begin, int64_t end, void* context) { (*static_cast<const F*>(context))(begin, end); };
  run_parallel(units, most(blocks(WORTHWHILE, most(size, 1)), 1), call, const_cast<F*>(&body));
}

template <class T>
void load_row(wide<T>* __restrict__ row, const T* __restrict__ x, int64_t n) {
  for (int64_t i = 0; i < n; i++) row[i] = load(x[i]);
}

template <class T>
void store_row(T* __restrict__ y, const wide<T>* __restrict__ row, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = store<T>(row[i]);
}

template <class T>
void multiply_row(wide<T>* __restrict__ row, const T* __restrict__ x, int64_t n) {
  for (int64_t i = 0; i < n; i++) row[i] *= load(x[i]);
}

template <class A>
void fill_row(A* row, A x, int64_t n) {
  for (int64_t i = 0; i < n; i++) row[i] = x;
}

template <class A>
void add_row(A* __restrict__ row, const A* __restrict__ x, int64_t n) {
  for (int64_t i = 0; i < n; i++) row[i] += x[i];
}

// The order of this sum follows from n alone: lanes of one vector, then the lanes among themselves.
template <class A>
A sum_row(const A* row, int64_t n) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += row[i];
  return sum;
}

template <class A>
void activate_row(A* row, int64_t n, int act, const ActivationSettings<A>& settings) {
  with_activation(act, [=](auto constant) {
    for (int64_t i = 0; i < n; i++) row[i] = activate<decltype(constant)::value>(row[i], settings);
  });
}

template <class A>
void slope_row(A* row, int64_t n, int act, const ActivationSettings<A>& settings) {
  with_activation(act, [=](auto constant) {
    for (int64_t i = 0; i < n; i++) row[i] = activation_slope<decltype(constant)::value>(row[i], settings);
  });
}

template <class A>
void slope_at_output_row(A* row, int64_t n, int act, const ActivationSettings<A>& settings) {
  with_activation(act, [=](auto constant) {
    constexpr int ACT = decltype(constant)::value;
    if constexpr (ACT <= LRELU) {
      for (int64_t i = 0; i < n; i++) row[i] = activation_slope_at_output<ACT>(row[i], settings);
    }
  });
}

template <class A>
void curvature_row(A* row, int64_t n, int act, const ActivationSettings<A>& settings) {
  with_activation(act, [=](auto constant) {
    for (int64_t i = 0; i < n; i++) row[i] = activation_curvature<decltype(constant)::value>(row[i], settings);
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
