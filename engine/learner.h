// Test-time learning with the exact engine: the gradient of the training loss and the steps of gradient descent are
// defined bit by bit like the forward pass (docs/arithmetic.md, "Gradients", "Steps"), so whoever decodes a text can
// repeat them.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "core/hash.h"
#include "engine/engine.h"

namespace par5 {

// How a gradient is scaled before it joins the momentum: all by one factor that clips their common norm, or each
// tensor's so that it is as long as the stored tensor.
enum class StepRule { sgd, lars };

struct LearnerOptions {
  // A tensor's rate as a multiple of the step's; 0: it does not learn. Null: the calibration tensors alone, at 1.
  std::function<double(const TensorSpec&)> rate_factor;
  // Instead of tensors: a bias for each token and one sharpness, by which the engine's probabilities are changed behind
  // the temperature, which the loss then has too.
  bool output = false;
  double temperature = 1.0;
  StepRule rule = StepRule::sgd;
  double momentum = 0.9;  // of the running sum of gradients, 0 … 1
  double clip = 1.0;      // sgd: the gradient's largest norm; 0: not clipped
  double decay = 0.0;     // part of the way back to the stored weights that each step goes, 0 … 1
  double z_loss = 1e-4;   // weight of the mean squared log-sum-exp in the loss of tensors
};

// Rate factors: everything that par5 can learn at test time, the dequantised matrices and all vectors; or the
// calibration tensors: scales, mixes, gains, skip weights, vocabulary bias.
double learns_everything(const TensorSpec& spec);
double learns_calibration(const TensorSpec& spec);

// Whether a tensor is the matrix of a linear layer: not the embedding, its projections, positions or vectors.
bool is_layer_matrix(const TensorSpec& spec);

class EngineLearner {
 public:
  // Tensors learn in fp32 only, the output in any arithmetic; with others, or options outside their ranges, a usage
  // error. Matrices that learn are dense float32 in memory, five copies in all.
  static Result<EngineLearner> create(const StoredModel& model, EngineOptions engine, LearnerOptions options);
  EngineLearner(EngineLearner&&) noexcept;
  EngineLearner& operator=(EngineLearner&&) noexcept;
  ~EngineLearner();

  // The engine with the weights as they are now. Texts that were begun before a step have the keys and values of the
  // weights before it: begin new ones.
  Engine& engine();

  // Number of values that a step changes. 0: nothing of this model learns.
  std::int64_t learning_values() const;

  // The mean cross-entropy (nats, without the z-loss) of `targets` after `inputs`, and the gradient of the training
  // loss, kept for gradient(). Both are row-major [windows, length] token ids; every window is a text of its own.
  // Token ids outside the vocabulary and results that are not finite numbers are bad_data.
  Result<double> differentiate(std::span<const std::uint16_t> inputs, std::span<const std::uint16_t> targets,
                               std::int64_t windows);
  // The same and then a step: clips the gradient, adds it to the momentum, changes the weights. Returns the mean
  // cross-entropy before it. After an error the weights are as they were.
  Result<double> step(std::span<const std::uint16_t> inputs, std::span<const std::uint16_t> targets,
                      std::int64_t windows, double learning_rate);
  // Back to the stored weights, with no momentum.
  void reset();

  // Of a tensor by name, row-major without gaps: its values now, and the last gradient. Empty where it does not learn.
  std::vector<float> values(std::string_view tensor) const;
  std::vector<float> gradient(std::string_view tensor) const;
  // Norm of the last gradient before clipping.
  double gradient_norm() const;
  // SHA-256 over the values of all tensors that learn, in the model's order: equal for equal weights.
  Digest content_hash() const;

  // Everything that steps have changed: of each tensor that learns its values, then its momentum, as float32. A learner
  // that is given the bytes goes on as the one that they came from; bytes of another size are bad_data.
  std::vector<std::byte> state() const;
  Status restore(std::span<const std::byte> state);

  struct State;

 private:
  explicit EngineLearner(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace par5
