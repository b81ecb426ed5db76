// Score-first learning while a text is coded. Encoder and decoder take the same steps at the same places: before a
// window is entered, from every chunk of targets (eval/ttt.h) that ends before the window's first target, but the
// text's last. All that a decoder has by then are the tokens that it has decoded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/learner.h"
#include "eval/coding/bitstream.h"

namespace par5 {

// How many of the parameters' phases a text has: those with a document behind them.
std::int64_t phases_of(std::span<const std::uint16_t> tokens, const CodingParameters& parameters);

class TextLearning {
 public:
  // For a text of `targets` targets in a mode that learns. A mode that has no exact learner is a usage error.
  static Result<std::unique_ptr<TextLearning>> create(const StoredModel& model, const CodingParameters& parameters,
                                                      std::int64_t targets, double temperature,
                                                      const EngineOptions& engine);

  // The engine that computes with what has been learnt.
  Engine& engine() { return learner_.engine(); }

  // To be called before a window is entered, with the text's tokens before the window's first target.
  Status learn_from(std::span<const std::uint16_t> known);

  std::int64_t updates() const { return updates_; }
  std::int64_t adapted_values() const { return learner_.learning_values(); }

  // Enough to go on in another process: how far it has come, and the learner's state. bad_data where it does not fit.
  std::vector<std::byte> state() const;
  Status restore(std::span<const std::byte> state);

 private:
  TextLearning(EngineLearner learner, const CodingParameters& parameters, std::int64_t targets);
  // One past the last target of the next chunk, where it ends within what is known.
  std::optional<std::int64_t> chunk_end(std::span<const std::uint16_t> known) const;

  EngineLearner learner_;
  CodingParameters parameters_;
  std::int64_t chunks_;
  std::int64_t learnt_chunks_ = 0;
  std::int64_t begin_ = 1;  // first target of the next chunk
  std::int64_t updates_ = 0;
};

}  // namespace par5
