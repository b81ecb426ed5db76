// Internal to engine/: the gradient of the training loss over windows of text, as defined in docs/arithmetic.md
// ("Gradients"). Its forward pass is the engine's own (Tape), in fp32.
#pragma once

#include "engine/forward.h"
#include "engine/parameters.h"

namespace par5 {

// Positions whose attention is differentiated at a time: a block of queries, and the unit in which chains over queries
// begin.
constexpr std::size_t kGradientBlock = 64;

class Gradient {
 public:
  Gradient(Forward& forward, const NetworkWeights& weights, const Kernels& kernels, ThreadPool& pool,
           Parameters& parameters, double z_loss);

  // Adds the gradient of one window's part of the mean loss over `positions` predictions in all to the parameters that
  // learn. inputs, targets [length]; the window must be new and its state have room. Returns the window's summed
  // cross-entropy in nats, without the z-loss; not a number where results are not finite.
  double add_window(const Windows::State& state, WindowCache& window, std::span<const std::uint16_t> inputs,
                    std::span<const std::uint16_t> targets, std::size_t positions);

 private:
  template <class Work>
  void each_row(const Work& work);
  double head(std::span<const std::uint16_t> targets, std::size_t first, std::size_t count, float share);
  void layer(const Windows::State& state, std::size_t index);
  void mlp(std::size_t index);
  void attention(const Windows::State& state, std::size_t index);
  void attend(std::size_t index);
  void attend_head(std::size_t index, std::size_t kv_head, std::size_t thread);
  void rotate_back(const Windows::State& state, std::size_t index);
  void embed(std::span<const std::uint16_t> inputs);

  // out = gradient of the input of a product by `parts` (below one another), from that of its results, whose columns
  // begin at out's.
  void through_product(const Rows& d, std::size_t rows, const std::vector<Parameter*>& parts, Rows& out);
  void add_products(const Rows& d, const Rows& input, const std::vector<Parameter*>& parts, std::size_t rows);
  // gradient row `index` of a parameter: chain over positions of fma(a, b, .) for every column.
  void add_columns(const Rows& a, const Rows& b, Parameter* parameter, std::size_t index);
  // The model's norm with a gain (or none), and the gradient through it, from d to out (may be d).
  void norm(const Rows& x, const Parameter* gain, Rows& out);
  void through_norm(const Rows& x, Rows& d, Parameter* gain, Rows& out);
  void through_rms(const float* x, const float* d, std::size_t n, float* out, float* scratch) const;
  void through_layer_norm(const float* x, const float* d, std::size_t n, float* out, float* scratch) const;
  bool linear_norm(bool output_projection) const;

  Forward& forward_;
  const NetworkWeights& weights_;
  const ModelConfig& model_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  Parameters& parameters_;
  float z_loss_;

  Tape tape_;
  std::size_t length_ = 0;  // of the window
  std::vector<float> ones_;
  AlignedVector<float> minus_sines_;
  // Gradients: of x (the stream), of x0, of encoder outputs through their skips.
  Rows d_, d0_;
  std::vector<Rows> d_skips_;
  Rows x0_, mixed_, middle_, normed_, branch_, hidden_, d_branch_, d_hidden_, d_normed_, d_features_;
  Rows queries_, keys_, d_query_, d_key_value_;
  Rows capped_, d_logits_, transposed_;
  // Per thread, of one key/value head: panels of keys and values, probabilities, their gradients, transposes, sums.
  struct HeadScratch {
    AlignedVector<float> key_panels, value_panels, key_rows, p, d, turned, query_rows, d_rows, sums, d_keys, d_values;
  };
  std::vector<HeadScratch> scratch_;
  std::vector<AlignedVector<float>> row_scratch_;
};

}  // namespace par5
