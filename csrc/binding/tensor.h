// What the torch-facing side of every operator does with tensors.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "backend.h"

#if defined(INVERT_CUDA)
#define INVERT_DISPATCH_KEY CUDA
#else
#define INVERT_DISPATCH_KEY CPU
#endif

namespace invert {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

inline Number number_of(const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return FLOAT32;
    case ScalarType::Double:
      return FLOAT64;
    case ScalarType::Half:
      return FLOAT16;
    case ScalarType::BFloat16:
      return BFLOAT16;
    default:
      STD_TORCH_CHECK(false, "the operators take float32, float64, float16 and bfloat16 tensors");
  }
}

// The type of small tensors and sums beside activations x.
inline ScalarType sum_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline bool has_channels_last_strides(const Tensor& x) {
  const auto sizes = x.sizes();
  const auto strides = x.strides();
  int64_t expected = 1;
  for (const int64_t d : {1, 3, 2, 0}) {
    if (sizes[d] != 1 && strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

// The layout of a result: channels-last only where x is, as generator.ops._library.layout_of says it.
inline bool is_channels_last(const Tensor& x) { return !x.is_contiguous() && has_channels_last_strides(x); }

inline Tensor with_layout(const Tensor& x, bool channels_last) {
  if (channels_last ? has_channels_last_strides(x) : x.is_contiguous()) return x;
  return torch::stable::contiguous(x, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline Tensor empty(torch::headeronly::IntHeaderOnlyArrayRef sizes, ScalarType type, const Tensor& like,
                    bool channels_last = false) {
  return torch::stable::empty(sizes, type, std::nullopt, like.device(), std::nullopt,
                              channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline Tensor empty_with_layout(const Tensor& x, bool channels_last) {
  return empty(x.sizes(), x.scalar_type(), x, channels_last);
}

inline void check_same(const Tensor& x, const Tensor& y, const char* what) {
  bool same = x.dim() == y.dim() && x.scalar_type() == y.scalar_type() && x.device() == y.device();
  for (int64_t d = 0; same && d < x.dim(); d++) same = x.size(d) == y.size(d);
  STD_TORCH_CHECK(same, what, " must have the shape, type and device of the other tensor");
}

// A small tensor, contiguous and in the type of sums; null where there is none. `keep` holds what the pointer is into.
inline const void* small(const OptionalTensor& p, const Tensor& x, int64_t count, const char* what, Tensor& keep) {
  if (!p.has_value()) return nullptr;
  STD_TORCH_CHECK(p->numel() == count, what, " has ", p->numel(), " elements where ", count, " belong");
  STD_TORCH_CHECK(p->scalar_type() == sum_type(x) && p->device() == x.device(), what,
                  " must be float32 (float64 beside float64) and on the device of the activations");
  keep = with_layout(*p, false);
  return keep.const_data_ptr();
}

// Holds the device of x while kernels are launched on its current stream.
class Launch {
 public:
#if defined(INVERT_CUDA)
  explicit Launch(const Tensor& x) : guard_(x.get_device_index()) {
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  }
#else
  explicit Launch(const Tensor&) {}
#endif
  void* stream = nullptr;

#if defined(INVERT_CUDA)
 private:
  torch::stable::accelerator::DeviceGuard guard_;
#endif
};

}  // namespace invert
