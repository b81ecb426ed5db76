#include "eval/coding/text_learning.h"

#include <algorithm>
#include <string>

#include "archive/byte_io.h"
#include "core/cancel.h"
#include "eval/exact_learner.h"
#include "eval/ttt.h"

namespace par5 {

TextLearning::TextLearning(EngineLearner learner, const CodingParameters& parameters, std::int64_t targets)
    : learner_(std::move(learner)),
      parameters_(parameters),
      chunks_(parameters.phased()
                  ? parameters.phases + 1
                  : (targets + parameters.learning.chunk_tokens - 1) / parameters.learning.chunk_tokens) {}

Result<std::unique_ptr<TextLearning>> TextLearning::create(const StoredModel& model, const CodingParameters& parameters,
                                                           std::int64_t targets, double temperature,
                                                           const EngineOptions& engine) {
  const TttConfig& learning = parameters.learning;
  P5_OK(check_exact_learning(parameters.mode.kind, learning));
  P5_TRY(EngineLearner learner,
         EngineLearner::create(model, engine,
                               exact_learner_options(parameters.mode.kind, learning, parameters.z_loss, temperature)));
  if (learner.learning_values() == 0)
    return usage_error("this model has no values that " + mode_name(parameters.mode) + " could adapt");
  return std::unique_ptr<TextLearning>(new TextLearning(std::move(learner), parameters, targets));
}

std::int64_t phases_of(std::span<const std::uint16_t> tokens, const CodingParameters& parameters) {
  // A document begins behind each BOS that is an input, and at target 1.
  const auto inputs = tokens.first(tokens.size() - 1);
  const std::int64_t later_documents = std::count(inputs.begin() + 1, inputs.end(), parameters.bos);
  return std::min(parameters.phases, later_documents / parameters.phase_documents);
}

std::optional<std::int64_t> TextLearning::chunk_end(std::span<const std::uint16_t> known) const {
  const auto tokens = static_cast<std::int64_t>(known.size());
  std::int64_t end = begin_;
  if (!parameters_.phased()) {
    end += parameters_.learning.chunk_tokens;
    return end <= tokens ? std::optional(end) : std::nullopt;
  }
  for (std::int64_t documents = 0; end < tokens;)
    if (known[static_cast<std::size_t>(end++)] == parameters_.bos && ++documents == parameters_.phase_documents)
      return end;
  return std::nullopt;
}

Status TextLearning::learn_from(std::span<const std::uint16_t> known) {
  const TttConfig& learning = parameters_.learning;
  while (learnt_chunks_ < chunks_ - 1) {
    const std::optional<std::int64_t> end = chunk_end(known);
    if (!end) break;
    const double rate = ttt_learning_rate(learning, learnt_chunks_++, chunks_);
    const std::vector<TttStep> steps = chunk_steps(begin_, *end, parameters_.window, learning.batch_windows);
    begin_ = *end;
    if (rate == 0) continue;
    for (std::int64_t epoch = 0; epoch < learning.epochs; ++epoch)
      for (const TttStep& step : steps) {
        if (cancelled()) return interrupted();
        const auto first = static_cast<std::size_t>(step.first_target);
        const auto count = static_cast<std::size_t>(step.windows * step.length);
        P5_OK(learner_.step(known.subspan(first - 1, count), known.subspan(first, count), step.windows, rate));
        ++updates_;
      }
  }
  return {};
}

std::vector<std::byte> TextLearning::state() const {
  ByteWriter out;
  out.fixed(static_cast<std::uint64_t>(learnt_chunks_), 8);
  out.fixed(static_cast<std::uint64_t>(begin_), 8);
  out.fixed(static_cast<std::uint64_t>(updates_), 8);
  out.raw(learner_.state());
  return out.take();
}

Status TextLearning::restore(std::span<const std::byte> state) {
  ByteReader in(state, {}, 0, "the saved learning");
  P5_TRY(const std::uint64_t chunks, in.fixed(8));
  P5_TRY(const std::uint64_t begin, in.fixed(8));
  P5_TRY(const std::uint64_t updates, in.fixed(8));
  if (begin < 1 || begin > std::uint64_t{1} << 62) return bad_data("the saved learning begins nowhere in the text");
  if (chunks > static_cast<std::uint64_t>(chunks_))
    return bad_data("the saved learning has come to chunk " + std::to_string(chunks) + " of " +
                    std::to_string(chunks_));
  P5_TRY(const auto learner, in.bytes(in.remaining()));
  P5_OK(learner_.restore(learner));
  learnt_chunks_ = static_cast<std::int64_t>(chunks);
  begin_ = static_cast<std::int64_t>(begin);
  updates_ = static_cast<std::int64_t>(updates);
  return {};
}

}  // namespace par5
