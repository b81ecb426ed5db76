#include "eval/ledger_sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/progress.h"
#include "core/text.h"
#include "eval/broker.h"
#include "eval/score.h"

namespace par5 {
namespace {

// Scores and bytes of the drawn blocks, by target id; kNotScored where a target is in none of them.
struct Recorded {
  std::vector<std::uint32_t> units, bytes;
  std::int64_t blocks = 0, targets = 0;
};

// Reading stops where the ledger cannot be read on: the audit says so.
Result<std::int64_t> count_blocks(std::span<const std::byte> ledger) {
  P5_TRY(LedgerReader reader, LedgerReader::open(ledger));
  for (auto block = reader.next(); block && *block;) block = reader.next();
  return reader.blocks();
}

Result<Recorded> draw(std::span<const std::byte> ledger, const LedgerSampleSettings& settings) {
  P5_TRY(const std::int64_t blocks, count_blocks(ledger));
  std::vector<std::int64_t> order(static_cast<std::size_t>(blocks));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(settings.seed);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  std::vector<bool> drawn(order.size(), false);
  for (std::size_t i = 0; i < order.size() && static_cast<std::int64_t>(i) < settings.blocks; ++i) drawn[static_cast<std::size_t>(order[i])] = true;

  P5_TRY(LedgerReader reader, LedgerReader::open(ledger));
  Recorded recorded;
  recorded.units.assign(static_cast<std::size_t>(reader.declaration().targets) + 1, kNotScored);
  recorded.bytes.assign(recorded.units.size(), 0);
  for (const bool wanted : drawn) {
    P5_TRY(const auto block, reader.next());
    if (!block || !wanted) continue;
    ++recorded.blocks;
    std::size_t next = 0;
    for (const LedgerEvent& event : block->events)
      for (std::int64_t target = event.first_target; event.kind == LedgerEvent::Kind::scored && target < event.end_target; ++target, ++next) {
        recorded.units[static_cast<std::size_t>(target)] = block->units[next];
        recorded.bytes[static_cast<std::size_t>(target)] = block->bytes[next];
        ++recorded.targets;
      }
  }
  return recorded;
}

}  // namespace

Result<LedgerSample> rescore_blocks(std::span<const std::byte> ledger, const EvalData& data, Scorer& scorer, const LedgerSampleSettings& settings) {
  P5_TRY(const LedgerReader reader, LedgerReader::open(ledger));
  const LedgerDeclaration& declared = reader.declaration();
  LedgerSample sample;
  sample.check.id = "rescored";
  const auto answer = [&](Verdict verdict, std::string evidence) {
    sample.check.verdict = verdict;
    sample.check.evidence = std::move(evidence);
    return sample;
  };
  if (declared.targets < 1 || declared.targets > data.targets() || token_sha256(data, declared.targets) != declared.data_sha256)
    return answer(Verdict::fail, "the ledger is of other data: " + grouped(declared.targets) + " targets with the hash " + declared.data_sha256.substr(0, 12) + "…");
  P5_TRY(const Mode mode, mode_from_name(declared.mode));
  if (mode_learns(mode)) return answer(Verdict::unknown, declared.mode + " learns: a score depends on every update before it, so a sample cannot be scored alone; `eval` again, or `prove`");
  P5_TRY(const Recorded recorded, draw(ledger, settings));
  sample.blocks = recorded.blocks;
  sample.targets = recorded.targets;
  if (recorded.targets == 0) return answer(Verdict::unknown, "the ledger has no block that could be scored anew");

  P5_TRY(std::vector<Window> plan, mode_plan(data, mode, declared.targets, declared.window, declared.stride));
  plan.erase(std::remove_if(plan.begin(), plan.end(),
                            [&](const Window& window) {
                              const auto first = recorded.units.begin() + window.first_target(), end = recorded.units.begin() + window.end_target();
                              return std::all_of(first, end, [](std::uint32_t units) { return units == kNotScored; });
                            }),
             plan.end());
  P5_TRY(TokenBroker broker, TokenBroker::create(data.tokens, declared.targets));
  std::int64_t wanted = 0;
  for (const Window& window : plan) wanted += window.scored();
  Progress progress("scoring " + std::to_string(sample.blocks) + " blocks anew", static_cast<std::uint64_t>(wanted), "targets");
  P5_OK(broker.score(scorer, plan, settings.batch_tokens, &progress));

  sample.bit_exact = declared.engine == scorer.name() && declared.engine.starts_with("exact");
  double sum = 0;
  std::int64_t other = 0, farthest = 0;
  for (std::int64_t target = 1; target <= declared.targets; ++target) {
    const std::uint32_t was = recorded.units[static_cast<std::size_t>(target)];
    if (was == kNotScored) continue;
    const std::string name = "target " + std::to_string(target);
    if (recorded.bytes[static_cast<std::size_t>(target)] != target_bytes(data, target))
      return answer(Verdict::fail, name + " is charged " + std::to_string(recorded.bytes[static_cast<std::size_t>(target)]) + " bytes in the ledger and " + std::to_string(target_bytes(data, target)) + " by the text");
    const std::uint32_t is = broker.ledger().units()[static_cast<std::size_t>(target - 1)];
    if (sample.bit_exact && is != was)
      return answer(Verdict::fail, name + " has " + fixed(ledger_bits(was), 6) + " bits in the ledger and " + fixed(ledger_bits(is), 6) + " by the model");
    const double difference = ledger_bits(is) - ledger_bits(was);
    sum += difference;
    other += is != was;
    if (std::abs(difference) > sample.largest_difference) sample.largest_difference = std::abs(difference), farthest = target;
  }
  sample.mean_difference = sum / static_cast<double>(recorded.targets);
  const std::string drawn = grouped(sample.blocks) + " blocks (" + grouped(sample.targets) + " targets), drawn with seed " + std::to_string(settings.seed);
  if (sample.bit_exact) return answer(Verdict::pass, drawn + ", have the same scores, bit for bit, and bytes");
  const std::string measured = drawn + ": by " + scorer.name() + " " + grouped(other) + " scores differ from the ledger's (" + declared.engine + "), by " + shortest(sample.mean_difference) +
                               " bits on average and " + fixed(sample.largest_difference, 6) + " at most (target " + std::to_string(farthest) + ")";
  if (sample.largest_difference <= kSampleTargetTolerance && std::abs(sample.mean_difference) <= kSampleMeanTolerance) return answer(Verdict::pass, measured + ": rounding");
  return answer(std::abs(sample.mean_difference) > 10 * kSampleMeanTolerance ? Verdict::fail : Verdict::unknown, measured);
}

}  // namespace par5
