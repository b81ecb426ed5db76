#include "eval/ttt.h"

#include <algorithm>
#include <numbers>
#include <string>

#include "core/cancel.h"
#include "engine/elementary.h"

namespace par5 {
namespace {

// Targets [begin, end), scored in one round.
struct Chunk {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool starts_document = false;
  bool learns = true;
};

// Appends the chunks of targets [begin, end).
void append_chunks(std::int64_t begin, std::int64_t end, std::int64_t chunk_tokens, std::vector<Chunk>& chunks) {
  for (std::int64_t first = begin; first < end; first += chunk_tokens)
    chunks.push_back({first, std::min(first + chunk_tokens, end), first == begin});
}

// One round for each chunk, with the windows of the plan whose first scored target lies in it.
std::vector<TttRound> rounds_of(std::span<const Chunk> chunks, std::span<const Window> plan, std::int64_t window,
                                const TttConfig& ttt) {
  std::vector<TttRound> rounds;
  std::size_t next = 0;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    TttRound round;
    round.first_window = next;
    while (next < plan.size() && plan[next].first_target() < chunks[c].end) ++next;
    round.end_window = next;
    if (chunks[c].learns && next < plan.size()) {
      round.epochs = ttt.epochs;
      round.learning_rate =
          ttt_learning_rate(ttt, static_cast<std::int64_t>(c), static_cast<std::int64_t>(chunks.size()));
      round.steps = chunk_steps(chunks[c].begin, chunks[c].end, window, ttt.batch_windows);
    }
    rounds.push_back(std::move(round));
  }
  return rounds;
}

// First targets of the documents, in order: the one after each BOS input, and target 1; then one past the last target.
std::vector<std::int64_t> document_borders(std::span<const std::uint16_t> tokens, std::int64_t targets,
                                           std::uint16_t bos) {
  std::vector<std::int64_t> borders;
  for (std::int64_t t = 1; t <= targets; ++t)
    if (t == 1 || tokens[static_cast<std::size_t>(t - 1)] == bos) borders.push_back(t);
  borders.push_back(targets + 1);
  return borders;
}

Status check(const TttConfig& ttt, std::int64_t window) {
  if (ttt.chunk_tokens < 1) return usage_error("a chunk must hold at least 1 target", "ttt.chunk_tokens");
  if (ttt.batch_windows < 1 || window < 1) return usage_error("a step needs at least 1 window", "ttt.batch_windows");
  return {};
}

}  // namespace

double ttt_learning_rate(const TttConfig& ttt, std::int64_t chunk, std::int64_t chunks) {
  if (ttt.schedule == TttSchedule::constant) return ttt.lr;
  const auto last = static_cast<double>(std::max<std::int64_t>(chunks - 1, 1));
  return ttt.lr * 0.5 * (1.0 + exact::cos64(std::numbers::pi * static_cast<double>(chunk) / last));
}

std::vector<TttStep> chunk_steps(std::int64_t begin, std::int64_t end, std::int64_t window,
                                 std::int64_t batch_windows) {
  std::vector<TttStep> steps;
  const std::int64_t windows = (end - begin) / window;
  for (std::int64_t w = 0; w < windows; w += batch_windows)
    steps.push_back({begin + w * window, std::min(batch_windows, windows - w), window});
  const std::int64_t rest = begin + windows * window;
  if (rest < end) steps.push_back({rest, 1, end - rest});
  return steps;
}

Result<std::vector<TttRound>> chunk_rounds(std::span<const Window> plan, std::int64_t targets, std::int64_t window,
                                           const TttConfig& ttt) {
  P5_OK(check(ttt, window));
  std::vector<Chunk> chunks;
  append_chunks(1, targets + 1, ttt.chunk_tokens, chunks);
  chunks.back().learns = false;
  return rounds_of(chunks, plan, window, ttt);
}

Result<std::vector<TttRound>> document_rounds(std::span<const Window> plan, std::span<const std::uint16_t> tokens,
                                              std::int64_t targets, std::uint16_t bos, std::int64_t window,
                                              const TttConfig& ttt, bool carry) {
  P5_OK(check(ttt, window));
  std::vector<Chunk> chunks;
  const std::vector<std::int64_t> borders = document_borders(tokens, targets, bos);
  for (std::size_t d = 0; d + 1 < borders.size(); ++d) {
    append_chunks(borders[d], borders[d + 1], ttt.chunk_tokens, chunks);
    if (!carry) chunks.back().learns = false;
  }
  chunks.back().learns = false;
  std::vector<TttRound> rounds = rounds_of(chunks, plan, window, ttt);
  for (std::size_t c = 1; c < rounds.size(); ++c) rounds[c].reset_first = !carry && chunks[c].starts_document;
  return rounds;
}

Result<std::vector<TttRound>> phase_rounds(std::span<const Window> plan, std::span<const std::uint16_t> tokens,
                                           std::int64_t targets, std::uint16_t bos, std::int64_t window,
                                           const PhasedConfig& phased) {
  P5_OK(check(phased.learning, window));
  if (phased.documents < 1) return usage_error("a phase needs at least 1 document", "ttt_phased.documents");
  const std::vector<std::int64_t> borders = document_borders(tokens, targets, bos);
  std::vector<Chunk> chunks;
  std::int64_t begin = 1;
  for (std::int64_t phase = 1; phase <= phased.phases; ++phase) {
    const auto border = static_cast<std::size_t>(phase * phased.documents);
    if (border + 1 >= borders.size()) break;
    chunks.push_back({begin, borders[border]});
    begin = borders[border];
  }
  chunks.push_back({begin, targets + 1, false, false});
  return rounds_of(chunks, plan, window, phased.learning);
}

Status run_rounds(TokenBroker& broker, Scorer& scorer, Learner& learner, std::span<const Window> plan,
                  std::span<const TttRound> rounds, std::int64_t batch_tokens, Progress* progress) {
  for (const TttRound& round : rounds) {
    if (round.reset_first) P5_OK(broker.reset(learner));
    P5_OK(broker.score(scorer, plan.subspan(round.first_window, round.end_window - round.first_window), batch_tokens,
                       progress));
    for (std::int64_t epoch = 0; epoch < round.epochs; ++epoch)
      for (const TttStep& step : round.steps) {
        if (cancelled()) return interrupted();
        P5_OK(broker.learn(learner, step.first_target, step.windows, step.length, round.learning_rate));
      }
  }
  return {};
}

}  // namespace par5
