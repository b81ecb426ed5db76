// The exact inference engine: a stored model → logits, without LibTorch. Its results are defined bit by bit
// (docs/arithmetic.md): they do not depend on the instruction set, the number of threads, what else is in a batch, or
// whether a window's tokens come at once or one by one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "engine/arithmetic.h"
#include "pack/stored_model.h"

namespace par5 {

struct EngineOptions {
  Arithmetic arithmetic = Arithmetic::fp32;
  std::string kernel;       // one of kernel_names(); empty: the best of this CPU
  std::size_t threads = 0;  // 0: one per core
  // fp32: which matrices stand as float32 in memory, where a learner can change them; the bits are the same.
  // `embedding`: the embedding, its projections and learned positions.
  enum class Dense { none, embedding, all };
  Dense dense = Dense::none;
};

// The kernels that this CPU can run, best first: "avx512-vnni", "avx512", "avx2", "neon", "scalar".
std::vector<std::string> kernel_names();

// Texts that grow token by token: the keys and values of every layer, for a fixed number of windows. Made by
// Engine::make_windows and used with that engine only.
class Windows {
 public:
  Windows();
  Windows(Windows&&) noexcept;
  Windows& operator=(Windows&&) noexcept;
  ~Windows();
  std::int64_t count() const;
  std::int64_t capacity() const;
  std::int64_t length(std::int64_t window) const;
  // Forgets tokens from position `length` on; 0 makes the window new. A window that is not so long stays as it is.
  void truncate(std::int64_t window, std::int64_t length);

  struct State;

 private:
  friend class Engine;
  friend class EngineLearner;
  std::unique_ptr<State> state_;
};

// Tokens that continue one window. Logits are wanted for tokens[first_wanted …] only.
struct WindowInput {
  std::int64_t window = 0;
  std::span<const std::uint16_t> tokens;
  std::int64_t first_wanted = 0;
};

class Engine {
 public:
  // Copies the weights into the kernels' formats. A model that contradicts itself is bad_data, a kernel that this CPU
  // lacks a usage error.
  static Result<Engine> create(const StoredModel& model, const EngineOptions& options);
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  const ModelConfig& model() const;
  Arithmetic arithmetic() const;
  std::string_view kernel() const;  // the one that runs
  std::size_t threads() const;
  // Resident bytes of the quantised matrices, and of all weights.
  std::uint64_t quantized_bytes() const;
  std::uint64_t weight_bytes() const;

  // Room for `count` windows of up to `capacity` tokens. gpt2: a capacity beyond the learned positions is a usage
  // error.
  Result<Windows> make_windows(std::int64_t count, std::int64_t capacity) const;

  // Continues each named window (at most once a call) by its tokens and hands the softcapped logits of the wanted ones
  // to `sink`, row-major [rows, vocab], in the order of `inputs` and then of positions: row r of them predicts the
  // token after the r-th wanted one. Spans are valid during the call only. An error that the sink returns ends the
  // call. A token id outside the vocabulary, or results that are not finite numbers, are bad_data; after an error the
  // windows are as long as before. One call at a time.
  using Sink = std::function<Status(std::int64_t first_row, std::int64_t rows, std::span<const float> logits)>;
  Status append(Windows& windows, std::span<const WindowInput> inputs, const Sink& sink);

  // Forgets the first `count` tokens of a window: those behind them move to the front, and their keys turn back by as
  // many positions. What follows is an approximation of a window that begins there: the kept keys and values were made
  // when the forgotten tokens could be seen. A model with learned positions (gpt2) cannot do this: a usage error.
  Status forget(Windows& windows, std::int64_t window, std::int64_t count) const;

  // Natural-log probabilities of rows of logits, row-major [rows, vocab], divided by the temperature (multiplied by
  // its reciprocal in binary32) and changed by what a learner of the output has learnt (engine/learner.h). `out` has as
  // many values; it may be the logits.
  void log_probabilities(std::span<const float> logits, double temperature, std::span<float> out);

  // token_frequencies (engine/frequencies.h) of rows of logits, divided and changed as above: `out` has as many values,
  // `totals` one per row.
  void frequencies(std::span<const float> logits, double temperature, int bits, std::span<std::uint64_t> out,
                   std::span<std::uint64_t> totals);
  // log_shares (engine/frequencies.h) of rows of them.
  void log_shares(std::span<const std::uint64_t> frequencies, std::span<const std::uint64_t> totals,
                  std::span<float> out);

  struct State;

 private:
  friend class EngineLearner;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace par5
