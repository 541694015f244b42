// One function per operator and instruction set; `launch` picks the best that the processor has.
#pragma once

#include "../kernels/arguments.h"

#if defined(__x86_64__)
#define INVERT_FOR_EACH_ISA(X) X(baseline) X(avx2) X(avx512)
#else
#define INVERT_FOR_EACH_ISA(X) X(baseline)
#endif

namespace invert {

#define INVERT_DECLARE(isa)                          \
  namespace isa {                                    \
  void run(const BiasActArguments&);                 \
  void run(const Upfirdn2dArguments&);               \
  void run(const FilteredLreluArguments&);           \
  void run(const SeededNormalArguments&);            \
  void run(const DemodulationArguments&);            \
  void run(const NoisePenaltyArguments&);            \
  void run(const NoiseNormaliseArguments&);          \
  void run_forward(const ConvTailArguments&);        \
  void run_backward(const ConvTailArguments&);       \
  void run_forward(const LayerTailArguments&);       \
  void run_backward(const LayerTailArguments&);      \
  void run_forward(const NormalisedTailArguments&);  \
  void run_backward(const NormalisedTailArguments&); \
  void run_forward(const PixelProductArguments&);    \
  void run_backward(const PixelProductArguments&);   \
  void run_forward(const LpipsTailArguments&);       \
  void run_backward(const LpipsTailArguments&);      \
  }
INVERT_FOR_EACH_ISA(INVERT_DECLARE)
#undef INVERT_DECLARE

}  // namespace invert
