// clamp(act(x * scale + noise * strength + b) * gain) in one pass, and its gradients in another.
#include "../kernels/conv_tail.h"

#include "dispatch.h"
#include "plan.h"
#include "rows.h"

namespace invert {
namespace INVERT_ISA {
namespace {

// A unit of work: some channels and some pixels of one picture.
struct Block {
  int64_t n, channel_block, pixel_block;
  int64_t c0, c1, p0, p1;
};

Block block_at(const ConvTailArguments& a, const ReductionPlan& plan, int64_t unit) {
  const int64_t pixel_blocks = blocks(a.pixels, plan.pixel_block);
  const int64_t channel_blocks = blocks(a.c, plan.channel_block);
  Block k;
  k.pixel_block = unit % pixel_blocks;
  k.channel_block = unit / pixel_blocks % channel_blocks;
  k.n = unit / pixel_blocks / channel_blocks;
  k.c0 = k.channel_block * plan.channel_block;
  k.c1 = least(k.c0 + plan.channel_block, a.c);
  k.p0 = k.pixel_block * plan.pixel_block;
  k.p1 = least(k.p0 + plan.pixel_block, a.pixels);
  return k;
}

// noise * strength at `n` pixels, zeros without noise.
template <class A>
void noise_row(const ConvTailArguments& a, int64_t picture, int64_t pixel, int64_t n, A* __restrict__ row) {
  if (a.noise == nullptr) return fill_row(row, A(0), n);
  const A* noise = static_cast<const A*>(a.noise) + (a.shared_noise ? 0 : picture * a.pixels) + pixel;
  const A strength = a.strength == nullptr ? A(1) : *static_cast<const A*>(a.strength);
  for (int64_t i = 0; i < n; i++) row[i] = noise[i] * strength;
}

// `n` entries of a small tensor, or as many times what stands for a missing one.
template <class A>
void side_row(const void* p, int64_t offset, int64_t n, A missing, A* __restrict__ row) {
  if (p == nullptr) return fill_row(row, missing, n);
  memcpy(row, static_cast<const A*>(p) + offset, static_cast<size_t>(n) * sizeof(A));
}

// A line is a run of elements in memory: pixels of one channel, or (channels last) channels of one pixel. `fixed` is
// what the line's elements have in common, `running` what each has of its own.
template <class A>
struct PixelLine {  // running: noise; fixed: scale, bias
  A scale, bias;
  const A* noise;
  INVERT_INLINE A input(A x, int64_t i) const { return tail_input(x, scale, noise[i], bias); }
  INVERT_INLINE A factor(int64_t) const { return scale; }
};

template <class A>
struct ChannelLine {  // running: scale, bias; fixed: noise
  const A *scale, *bias;
  A noise;
  INVERT_INLINE A input(A x, int64_t i) const { return tail_input(x, scale[i], noise, bias[i]); }
  INVERT_INLINE A factor(int64_t i) const { return scale[i]; }
};

template <int ACT, class T, class Line>
void forward_line(
    const Line line, const T* __restrict__ x, T* __restrict__ y, int64_t n, const ActivationSettings<wide<T>> s) {
  for (int64_t i = 0; i < n; i++) y[i] = store<T>(activate<ACT>(line.input(load(x[i]), i), s));
}

// dx, the sum of du * x over the line for the gradient of its scale, and du added to each pixel's sum.
template <int ACT, class T>
wide<T> backward_line(
    const PixelLine<wide<T>> line, const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
    wide<T>* __restrict__ pixel_sums, int64_t n, const ActivationSettings<wide<T>> s) {
  using A = wide<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    const A value = load(x[i]);
    const A du = load(dy[i]) * activation_slope<ACT>(line.input(value, i), s);
    dx[i] = store<T>(du * line.factor(i));
    pixel_sums[i] += du;
    sum += du * value;
  }
  return sum;
}

// dx, the sum of du over the line for the gradient of its noise, and du * x added to each channel's sum.
template <int ACT, class T>
wide<T> backward_line(
    const ChannelLine<wide<T>> line, const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
    wide<T>* __restrict__ channel_sums, int64_t n, const ActivationSettings<wide<T>> s) {
  using A = wide<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    const A value = load(x[i]);
    const A du = load(dy[i]) * activation_slope<ACT>(line.input(value, i), s);
    dx[i] = store<T>(du * line.factor(i));
    channel_sums[i] = multiply_add(du, value, channel_sums[i]);
    sum += du;
  }
  return sum;
}

// Calls f(line, offset of its first element, length, which channel or pixel it is) for every line of a block.
template <class A, class F>
void over_lines(const ConvTailArguments& a, const Block& k, const F& f) {
  const int64_t channels = k.c1 - k.c0, pixels = k.p1 - k.p0;
  A noise[ROW], scale[ROW], bias[ROW];
  noise_row(a, k.n, k.p0, least(pixels, ROW), noise);
  side_row(a.scale, k.n * a.c + k.c0, least(channels, ROW), A(1), scale);
  side_row(a.b, k.c0, least(channels, ROW), A(0), bias);
  if (a.channels_last) {
    for (int64_t i = 0; i < pixels; i++) {
      const ChannelLine<A> line{scale, bias, noise[i]};
      f(line, (k.n * a.pixels + k.p0 + i) * a.c + k.c0, channels, k.p0 + i);
    }
  } else {
    for (int64_t i = 0; i < channels; i++) {
      const PixelLine<A> line{scale[i], bias[i], noise};
      f(line, (k.n * a.c + k.c0 + i) * a.pixels + k.p0, pixels, k.c0 + i);
    }
  }
}

template <int ACT, class T>
void forward(const ConvTailArguments& a, const Block& k) {
  const auto settings = activation_settings<wide<T>>(a.activation);
  over_lines<wide<T>>(a, k, [&](const auto& line, int64_t offset, int64_t n, int64_t) {
    forward_line<ACT>(line, static_cast<const T*>(a.x) + offset, static_cast<T*>(a.y) + offset, n, settings);
  });
}

template <int ACT, class T>
void backward(const ConvTailArguments& a, const ReductionPlan& plan, const Block& k) {
  using A = wide<T>;
  const auto settings = activation_settings<wide<T>>(a.activation);
  // This block's line of [n, pixel blocks, c] and of [n, channel blocks, pixels].
  A* channel_sums = static_cast<A*>(a.channel_sums) + (k.n * blocks(a.pixels, plan.pixel_block) + k.pixel_block) * a.c;
  A* pixel_sums = static_cast<A*>(a.pixel_sums) + (k.n * blocks(a.c, plan.channel_block) + k.channel_block) * a.pixels;
  A* running = a.channels_last ? channel_sums + k.c0 : pixel_sums + k.p0;
  A* fixed = a.channels_last ? pixel_sums : channel_sums;
  fill_row(running, A(0), a.channels_last ? k.c1 - k.c0 : k.p1 - k.p0);
  over_lines<A>(a, k, [&](const auto& line, int64_t offset, int64_t n, int64_t at) {
    fixed[at] = backward_line<ACT>(
        line, static_cast<const T*>(a.dy) + offset, static_cast<const T*>(a.x) + offset,
        static_cast<T*>(a.dx) + offset, running, n, settings);
  });
}

// result[n, i] = factor * sum over the lines of parts[n, line, i], in the order of the lines.
template <class A>
void fold(A* result, const A* parts, int64_t n, int64_t lines, int64_t size, A factor) {
  parallel(n * blocks(size, ROW), least(size, ROW) * lines, [=](int64_t begin, int64_t end) {
    A row[ROW];
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t picture = unit / blocks(size, ROW), first = unit % blocks(size, ROW) * ROW;
      const int64_t length = least(ROW, size - first);
      fill_row(row, A(0), length);
      for (int64_t l = 0; l < lines; l++) add_row(row, parts + (picture * lines + l) * size + first, length);
      A* y = result + picture * size + first;
      for (int64_t i = 0; i < length; i++) y[i] = row[i] * factor;
    }
  });
}

// Calls f(ActivationConstant) with a kernel of its own for the activations of StyleGAN's convolutions.
template <class F>
void with_common_activation(int act, const F& f) {
  switch (act) {
    case LINEAR:
      return f(ActivationConstant<LINEAR>());
    case LRELU:
      return f(ActivationConstant<LRELU>());
    default:
      return f(ActivationConstant<ANY>());
  }
}

// Calls f(T(), activation constant, block) for every block.
template <class F>
void over_blocks(const ConvTailArguments& a, const ReductionPlan& plan, const F& f) {
  const int64_t units = a.n * blocks(a.pixels, plan.pixel_block) * blocks(a.c, plan.channel_block);
  const int64_t size = least(plan.pixel_block, a.pixels) * least(plan.channel_block, a.c);
  with_type(a.type, [&](auto number) {
    with_common_activation(a.activation.act, [&](auto act) {
      parallel(units, size, [&](int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end; unit++) f(number, act, block_at(a, plan, unit));
      });
    });
  });
}

}  // namespace

void run_forward(const ConvTailArguments& a) {
  const ReductionPlan plan = reduction_plan(a.c, a.pixels, a.channels_last);
  over_blocks(a, plan, [&](auto number, auto act, const Block& k) {
    forward<decltype(act)::value, decltype(number)>(a, k);
  });
}

void run_backward(const ConvTailArguments& a) {
  const ReductionPlan plan = reduction_plan(a.c, a.pixels, a.channels_last);
  over_blocks(a, plan, [&](auto number, auto act, const Block& k) {
    backward<decltype(act)::value, decltype(number)>(a, plan, k);
  });
  with_type(a.type, [&](auto number) {
    using A = wide<decltype(number)>;
    if (a.dscale != nullptr) {
      fold(static_cast<A*>(a.dscale), static_cast<const A*>(a.channel_sums), a.n, blocks(a.pixels, plan.pixel_block),
           a.c, A(1));
    }
    if (a.dnoise != nullptr) {
      const A strength = a.strength == nullptr ? A(1) : *static_cast<const A*>(a.strength);
      fold(static_cast<A*>(a.dnoise), static_cast<const A*>(a.pixel_sums), a.n, blocks(a.c, plan.channel_block),
           a.pixels, strength);
    }
  });
}

}  // namespace INVERT_ISA
}  // namespace invert
