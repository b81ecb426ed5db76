// Internal to engine/: the forward pass of a few hundred tokens at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/arithmetic.h"
#include "engine/kernels.h"
#include "engine/network_weights.h"
#include "engine/thread_pool.h"
#include "engine/windows.h"

namespace par5 {

// Tokens of one pass. Larger passes read the weights less often; the keys and values of earlier passes are in the
// windows, so how a text is cut into passes changes no bit.
constexpr std::size_t kRowsAtOnce = 256;

// Queries of one head that attend at a time.
constexpr std::size_t kPositionsPerTask = 12;

// Blocks of a matrix that one task multiplies, where it need not be all.
constexpr std::size_t kMostBlocks = 8;

// A matrix is cut by rows for the threads' sake only where each gets so many, which make up for decoding it again.
constexpr std::size_t kFewestRowsOfPart = 64;

// Consecutive positions of one window within a pass.
struct Segment {
  WindowCache* window = nullptr;
  std::size_t first_position = 0;
  std::span<const std::uint16_t> tokens;
  std::size_t first_wanted = 0;  // index into tokens; tokens.size(): none
};

// A matrix of activations whose rows begin at cache lines.
struct Rows {
  AlignedVector<float> values;
  std::size_t stride = 0;
  void resize(std::size_t rows, std::size_t width) {
    stride = round_up(width, kBlock);
    if (values.size() < rows * stride) values.resize(rows * stride);
  }
  float* operator[](std::size_t row) { return values.data() + row * stride; }
  const float* operator[](std::size_t row) const { return values.data() + row * stride; }
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
  // What one task multiplies.
  struct Part {
    std::size_t block, blocks;  // the first, and how many
    std::size_t row, rows;      // likewise
  };
  // Calls work(part, thread) for parts that make up all blocks of a matrix and `rows` rows. A part has at most `most`
  // blocks, which share what is read of the rows. Blocks that are left over when every thread has as many as the others
  // are cut by rows, if there are enough of them.
  template <class Work>
  void each_part(const PackedMatrix& matrix, std::size_t rows, std::size_t most, const Work& work) {
    const std::size_t blocks = matrix.blocks(), threads = pool_.threads();
    const std::size_t odd = rows >= threads * kFewestRowsOfPart ? blocks % threads : 0, even = blocks - odd;
    std::size_t at_once = most;
    if (odd == 0 && blocks % threads != 0)
      at_once = std::clamp<std::size_t>(blocks / (2 * threads), 1, most);
    else if (threads > 1 && even > 0) {
      const std::size_t each = even / threads,
                        rounds = std::max(std::min<std::size_t>(each, 2), (each + most - 1) / most);
      at_once = (each + rounds - 1) / rounds;
    }
    const std::size_t whole = (even + at_once - 1) / at_once;
    pool_.run(whole + odd * threads, [&](std::size_t task, std::size_t thread) {
      if (task < whole) {
        const std::size_t first = task * at_once;
        return work(Part{first, std::min(at_once, even - first), 0, rows}, thread);
      }
      const std::size_t cut = task - whole, slice = cut % threads;
      const std::size_t begin = rows * slice / threads, end = rows * (slice + 1) / threads;
      work(Part{even + cut / threads, 1, begin, end - begin}, thread);
    });
  }
  void keep(const Rows& from, std::size_t width, Rows Tape::Layer::*to, std::size_t layer);
  void keep(const Rows& from, std::size_t width, Rows& to);
  void embed();
  void normalize_row(const float* from, const AlignedVector<float>& gain, float* to);
  // Makes `input` ready for the products that follow, row by row while a row is in the cache: before(row), the norm of
  // linear_norm, the arithmetic's own form.
  template <class Before>
  void prepare(Rows& input, const PackedMatrix& matrix, bool output_projection, const Before& before);
  // Makes the arithmetic's own form of one row, for which `reserve` makes room.
  void reserve(const PackedMatrix& matrix);
  void convert(const Rows& input, const PackedMatrix& matrix, std::size_t row);
  void multiply(const Rows& input, const PackedMatrix& matrix, Rows& out);
  void multiply_floats(const float* input, std::size_t input_stride, std::size_t rows, const PackedMatrix& matrix,
                       Rows& out);
  // A part of it, on one thread, from the part's first row on: out[row · out_stride + output - first output].
  void multiply_part(const float* input, std::size_t input_stride, const PackedMatrix& matrix, const Part& part,
                     float* out, std::size_t out_stride, std::size_t thread);
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
  Arithmetic arithmetic_;
  ThreadPool& pool_;
  Tape* tape_ = nullptr;

  std::vector<Row> row_;
  std::size_t rows_ = 0;
  Rows x_, x0_, normed_, query_, key_value_, mixed_, branch_, hidden_, features_, head_;
  std::vector<Rows> skips_;
  // Forms of the last prepared input: int8, and the tables of fp32-adds.
  AlignedVector<std::uint32_t> quantized_words_;
  std::vector<std::int32_t> quantized_starts_;
  std::vector<float> quantized_steps_;
  AlignedVector<float> tables_;
  // Per thread: a decoded panel; scores and sums of a block of queries; products of the head.
  std::vector<AlignedVector<float>> panels_, scores_, sums_, head_products_;
};

}  // namespace par5
