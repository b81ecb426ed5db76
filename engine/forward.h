// Internal to engine/: the forward pass of a few hundred tokens at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/network_weights.h"
#include "engine/products.h"
#include "engine/windows.h"

namespace par5 {

// Tokens of one pass. Larger passes read the weights less often; the keys and values of earlier passes are in the
// windows, so how a text is cut into passes changes no bit.
constexpr std::size_t kRowsAtOnce = 256;

// Queries of one head that attend at a time.
constexpr std::size_t kPositionsPerTask = 12;

// Consecutive positions of one window within a pass.
struct Segment {
  WindowCache* window = nullptr;
  std::size_t first_position = 0;
  std::span<const std::uint16_t> tokens;
  std::size_t first_wanted = 0;  // index into tokens; tokens.size(): none
};

// What a backward pass wants to know of a window's forward pass: row p is position p.
struct Tape {
  struct Layer {
    Rows input;                  // before the residual mix
    Rows query, key_value;       // products, before the norms of their heads
    Rows mixed;                  // attention's result, before linear_norm
    Rows attended, hidden, mlp;  // products; hidden before the activation
    Rows output;                 // unet's encoder layers only
  };
  std::vector<Layer> layers;
  Rows embedded;  // before the first norm; gpt2: the sum of both embeddings
  Rows final;     // before the last norm
};

class Forward {
 public:
  Forward(const NetworkWeights& weights, const Kernels& kernels, Arithmetic arithmetic, ThreadPool& pool);

  // Passes write their rows into `tape` (null: no more), which has room for every position of their one window.
  void record(Tape* tape) { tape_ = tape; }

  // Runs the segments' tokens (at most kRowsAtOnce) through the network, adds their keys and values to the windows
  // (lengths stay) and keeps the final state of the wanted ones for logits(). False: not all results are finite.
  bool run(const Windows::State& state, std::span<const Segment> segments);
  std::size_t wanted_rows() const { return rows_; }
  // Logits of wanted rows first … first + count - 1 of the last run, row-major and without gaps. False as above.
  bool logits(std::size_t first, std::size_t count, AlignedVector<float>& out);
  // The head's product alone, before bias and softcap, and its input.
  const Rows& head(std::size_t first, std::size_t count);
  const Rows& head_input() const { return model_.factored_embedding() ? features_ : normed_; }

 private:
  struct Row {
    WindowCache* window;
    std::size_t position;
    std::uint16_t token;
    bool wanted;
  };

  template <class Work>
  void each_row(const Work& work);
  void keep(const Rows& from, std::size_t width, Rows Tape::Layer::*to, std::size_t layer);
  void keep(const Rows& from, std::size_t width, Rows& to);
  void embed();
  void normalize_row(const float* from, const AlignedVector<float>& gain, float* to);
  // Makes `input` ready for the products that follow, row by row while a row is in the cache: before(row), the norm of
  // linear_norm, the arithmetic's own form.
  template <class Before>
  void prepare(Rows& input, const PackedMatrix& matrix, bool output_projection, const Before& before);
  void multiply(const Rows& input, const PackedMatrix& matrix, Rows& out) {
    products_.multiply(input, matrix, rows_, out);
  }
  void run_layer(const Windows::State& state, std::size_t layer, bool last);
  void store_keys(const Windows::State& state, std::size_t layer);
  void keep_wanted();
  void prepare_queries(const Windows::State& state, std::size_t layer);
  void attend(const Windows::State& state, std::size_t layer);
  void attend_block(const Windows::State& state, std::size_t layer, std::size_t first_row, std::size_t positions,
                    std::size_t kv_head, std::size_t thread);

  const NetworkWeights& weights_;
  const ModelConfig& model_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  Products products_;
  Tape* tape_ = nullptr;

  std::vector<Row> row_;
  std::size_t rows_ = 0;
  Rows x_, x0_, normed_, query_, key_value_, mixed_, branch_, hidden_, features_, head_;
  std::vector<Rows> skips_;
  // Per thread: scores and sums of a block of queries; products of the head.
  std::vector<AlignedVector<float>> scores_, sums_, head_products_;
};

}  // namespace par5
