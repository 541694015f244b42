// Each activation, its slope and its curvature at u; and what gain and clamp make of them.
#pragma once

#include "arguments.h"
#include "elementary.h"

namespace invert {
namespace INVERT_ISA {

// In the order of generator.config.ACTIVATIONS.
enum Activation { LINEAR, RELU, LRELU, TANH, SIGMOID, ELU, SELU, SOFTPLUS, SWISH };

// A kernel compiled for ANY finds the activation in the settings: small, but not vectorised.
constexpr int ANY = -1;

template <class A>
struct ActivationSettings {
  int act;
  A alpha;  // slope below zero of lrelu
  A gain;
  A clamp;  // NaN for none: no comparison with it is true
};

template <class A>
INVERT_INLINE A sigmoid(A u) {
  return A(1) / (A(1) + exponential(-u));
}

template <class A>
INVERT_INLINE A hyperbolic_tangent(A u) {
  const A t = exponential_minus_one(u > A(20) ? A(40) : u + u);
  return t / (t + A(2));
}

template <class A>
INVERT_INLINE A softplus(A u) {
  return (u > A(0) ? u : A(0)) + log_one_plus(exponential(-absolute(u)));
}

#define INVERT_SELU_ALPHA 1.6732632423543772
#define INVERT_SELU_SCALE 1.0507009873554805

template <int ACT, class A>
INVERT_INLINE A value(A u, A alpha) {
  switch (ACT) {
    case RELU:
      return u < A(0) ? A(0) : u;
    case LRELU:
      return u > A(0) ? u : u * alpha;
    case TANH:
      return hyperbolic_tangent(u);
    case SIGMOID:
      return sigmoid(u);
    case ELU:
      return u > A(0) ? u : exponential_minus_one(u);
    case SELU:
      return A(INVERT_SELU_SCALE) * (u > A(0) ? u : A(INVERT_SELU_ALPHA) * exponential_minus_one(u));
    case SOFTPLUS:
      return softplus(u);
    case SWISH:
      return u * sigmoid(u);
    default:
      return u;
  }
}

template <int ACT, class A>
INVERT_INLINE A slope(A u, A alpha) {
  switch (ACT) {
    case RELU:
      return u > A(0) ? A(1) : A(0);
    case LRELU:
      return u > A(0) ? A(1) : alpha;
    case TANH: {
      const A t = hyperbolic_tangent(u);
      return A(1) - t * t;
    }
    case SIGMOID: {
      const A s = sigmoid(u);
      return s * (A(1) - s);
    }
    case ELU:
      return u < A(0) ? exponential(u) : A(1);
    case SELU:
      return A(INVERT_SELU_SCALE) * (u < A(0) ? A(INVERT_SELU_ALPHA) * exponential(u) : A(1));
    case SOFTPLUS:
      return sigmoid(u);
    case SWISH: {
      const A s = sigmoid(u);
      return s * (A(1) + u * (A(1) - s));
    }
    default:
      return A(1);
  }
}

template <int ACT, class A>
INVERT_INLINE A curvature(A u) {
  switch (ACT) {
    case TANH: {
      const A t = hyperbolic_tangent(u);
      return A(-2) * t * (A(1) - t * t);
    }
    case SIGMOID: {
      const A s = sigmoid(u);
      return s * (A(1) - s) * (A(1) - A(2) * s);
    }
    case ELU:
      return u < A(0) ? exponential(u) : A(0);
    case SELU:
      return u < A(0) ? A(INVERT_SELU_ALPHA * INVERT_SELU_SCALE) * exponential(u) : A(0);
    case SOFTPLUS: {
      const A s = sigmoid(u);
      return s * (A(1) - s);
    }
    case SWISH: {
      const A s = sigmoid(u);
      return s * (A(1) - s) * (A(2) + u * (A(1) - A(2) * s));
    }
    default:
      return A(0);
  }
}

template <int ACT>
struct ActivationConstant {
  static constexpr int value = ACT;
};

INVERT_INLINE bool is_piecewise_linear(int act) { return act <= LRELU; }

// Calls f(ActivationConstant<act>) for an activation known only at run time.
template <class F>
INVERT_INLINE auto with_activation(int act, const F& f) {
  switch (act) {
    case RELU:
      return f(ActivationConstant<RELU>());
    case LRELU:
      return f(ActivationConstant<LRELU>());
    case TANH:
      return f(ActivationConstant<TANH>());
    case SIGMOID:
      return f(ActivationConstant<SIGMOID>());
    case ELU:
      return f(ActivationConstant<ELU>());
    case SELU:
      return f(ActivationConstant<SELU>());
    case SOFTPLUS:
      return f(ActivationConstant<SOFTPLUS>());
    case SWISH:
      return f(ActivationConstant<SWISH>());
    default:
      return f(ActivationConstant<LINEAR>());
  }
}

// clamp(act(u) * gain)
template <int ACT, class A>
INVERT_INLINE A activate(A u, const ActivationSettings<A>& s) {
  if constexpr (ACT == ANY) {
    return with_activation(s.act, [&](auto act) { return activate<decltype(act)::value>(u, s); });
  } else {
    A y = value<ACT>(u, s.alpha) * s.gain;
    y = y > s.clamp ? s.clamp : y;
    return y < -s.clamp ? -s.clamp : y;
  }
}

// What the gradient is multiplied by, from the input u: nothing passes where the clamp holds.
template <int ACT, class A>
INVERT_INLINE A activation_slope(A u, const ActivationSettings<A>& s) {
  if constexpr (ACT == ANY) {
    return with_activation(s.act, [&](auto act) { return activation_slope<decltype(act)::value>(u, s); });
  } else {
    const A y = value<ACT>(u, s.alpha) * s.gain;
    const A d = slope<ACT>(u, s.alpha) * s.gain;
    return absolute(y) >= s.clamp ? A(0) : d;
  }
}

// The same from the output y, for the activations that are straight on either side of zero.
template <int ACT, class A>
INVERT_INLINE A activation_slope_at_output(A y, const ActivationSettings<A>& s) {
  const A d = slope<ACT>(y, s.alpha) * s.gain;
  return absolute(y) >= s.clamp ? A(0) : d;
}

template <int ACT, class A>
INVERT_INLINE A activation_curvature(A u, const ActivationSettings<A>& s) {
  const A y = value<ACT>(u, s.alpha) * s.gain;
  const A d = curvature<ACT>(u) * s.gain;
  return absolute(y) >= s.clamp ? A(0) : d;
}

// For activations of type T: the clamp is a number of that type, so that a clamped output equals it.
template <class T>
INVERT_INLINE ActivationSettings<wide<T>> activation_settings(const ActivationArguments& a) {
  using A = wide<T>;
  return {a.act, A(a.alpha), A(a.gain), a.clamp < 0 ? A(NAN) : load(store<T>(A(a.clamp)))};
}

}  // namespace INVERT_ISA
}  // namespace invert
