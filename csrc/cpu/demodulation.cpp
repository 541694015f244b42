// What demodulation does to each number between its products of matrices.
#include "../kernels/number.h"

#include "dispatch.h"

namespace invert {
namespace INVERT_ISA {
namespace {

template <class A>
void run_as(const DemodulationArguments& a) {
  const A* x = static_cast<const A*>(a.x);
  const A* by = static_cast<const A*>(a.by);
  const A* from = static_cast<const A*>(a.from);
  A* y = static_cast<A*>(a.y);
  const A epsilon = static_cast<A>(a.epsilon);
  switch (a.stage) {
    case DEMODULATION_SQUARE:
      for (int64_t i = 0; i < a.count; i++) y[i] = x[i] * x[i];
      return;
    case DEMODULATION_ROOT:
      for (int64_t i = 0; i < a.count; i++) y[i] = 1 / square_root(x[i] + epsilon);
      return;
    case DEMODULATION_CUBE:
      for (int64_t i = 0; i < a.count; i++) y[i] = x[i] * x[i] * x[i] * by[i];
      return;
    case DEMODULATION_REST:
      for (int64_t i = 0; i < a.count; i++) y[i] = from[i] - x[i] * by[i];
      return;
  }
}

}  // namespace

void run(const DemodulationArguments& a) { a.type == FLOAT64 ? run_as<double>(a) : run_as<float>(a); }

}  // namespace INVERT_ISA
}  // namespace invert
