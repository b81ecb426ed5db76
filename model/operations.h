// The network's elementwise steps. Each has an eager form in plain LibTorch operations, which runs on any device and
// in any float type and is the definition, and a fused CPU form (model/fused.h) that a test holds to it.
#pragma once

#include <optional>

#include "core/config.h"
#include "model/tensor.h"

namespace par5 {

// Which form of an operation runs. `automatic`: the fused CPU form where the tensors are on the CPU.
enum class Kernels { automatic, eager };

// The epsilons under the square roots: the published programs' for RMS-norm, GPT-2's for LayerNorm.
constexpr double kRmsEpsilon = 0x1p-23;
constexpr double kLayerNormEpsilon = 1e-5;
// leaky_relu2 is leaky ReLU of this slope, then squared.
constexpr double kLeakySlope = 0.5;

// x / sqrt(mean(x²) + eps) over the last dimension, without gain; computed in float32 at least, given as `out`.
torch::Tensor rms_norm(const torch::Tensor& x, torch::ScalarType out, Kernels kernels);
// (x - mean) / sqrt(variance + eps) · gain over the last dimension; an undefined gain is 1.
torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& gain, torch::ScalarType out);
// The configured norm, without gain.
torch::Tensor normalized(const torch::Tensor& x, Norm norm, torch::ScalarType out, Kernels kernels);

// A residual stream's new value and its norm, which the next matrix product takes.
struct Normed {
  torch::Tensor sum;     // float32, [rows, width]
  torch::Tensor normed;  // `out`
};
// sum = x + scale ⊙ branch. x [rows, width] float32, branch [rows, width] in the compute type, scale [width].
Normed add_scaled(const torch::Tensor& x, const torch::Tensor& branch, const torch::Tensor& scale, Norm norm,
                  torch::ScalarType out, Kernels kernels);
// The border between two blocks: end = x + scale ⊙ branch is what the last block gives (an undefined branch: x), and
// sum = mix[0] ⊙ (end + skip_weight ⊙ skip) + mix[1] ⊙ x0 what the next one takes, with its norm. mix [2, width].
// Without skip_weight there is no skip; with skip_weight but without skip the skip is `end` itself. x0 comes back for
// the next border, which so adds to x0's gradient on the way.
struct Border {
  torch::Tensor end;
  torch::Tensor sum;
  torch::Tensor normed;
  torch::Tensor x0;
};
struct BorderInputs {
  torch::Tensor x, branch, scale, x0, mix, skip, skip_weight;
};
Border cross_border(const BorderInputs& inputs, Norm norm, torch::ScalarType out, Kernels kernels);

// The slope below zero of the (leaky) ReLU that an activation squares; nothing for other activations.
std::optional<double> squared_relu_slope(Activation activation);
// The activation of the hidden layer, [rows, hidden] -> [rows, mlp_width] (swiglu halves it: gate first), then an
// RMS-norm if `with_norm`. Given in the type of `hidden`.
torch::Tensor activate(const torch::Tensor& hidden, Activation activation, bool with_norm, Kernels kernels);

// Softcap of logits in place of the published formulas; `value` is c.
torch::Tensor softcapped(const torch::Tensor& logits, Softcap softcap, double value);

}  // namespace par5
