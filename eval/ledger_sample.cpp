#include "eval/ledger_sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"
#include "eval/broker.h"
#include "eval/score.h"

namespace par5 {
namespace {

// Scores and bytes of the drawn blocks, by target id; kNotScored where a target is in none of them. And what happened
// up to the end of the last of them.
struct Recorded {
  std::vector<std::uint32_t> units, bytes;
  std::int64_t blocks = 0, targets = 0;
  std::vector<LedgerEvent> events;

  bool any_drawn(std::int64_t first, std::int64_t end) const {
    return std::any_of(units.begin() + first, units.begin() + end,
                       [](std::uint32_t unit) { return unit != kNotScored; });
  }
};

// Whole blocks within the first so many targets. Reading stops where the ledger cannot be read on: the audit says so.
Result<std::int64_t> count_blocks(std::span<const std::byte> ledger, std::int64_t first_targets) {
  P5_TRY(LedgerReader reader, LedgerReader::open(ledger));
  std::int64_t blocks = 0, targets = 0;
  for (auto block = reader.next(); block && *block; block = reader.next()) {
    targets += static_cast<std::int64_t>((*block)->units.size());
    if (first_targets > 0 && targets > first_targets) break;
    ++blocks;
  }
  return blocks;
}

Result<Recorded> draw(std::span<const std::byte> ledger, const LedgerSampleSettings& settings) {
  P5_TRY(const std::int64_t blocks, count_blocks(ledger, settings.first_targets));
  std::vector<std::int64_t> order(static_cast<std::size_t>(blocks));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(settings.seed);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  order.resize(std::min(order.size(), static_cast<std::size_t>(settings.blocks)));
  std::sort(order.begin(), order.end());

  P5_TRY(LedgerReader reader, LedgerReader::open(ledger));
  Recorded recorded;
  recorded.units.assign(static_cast<std::size_t>(reader.declaration().targets) + 1, kNotScored);
  recorded.bytes.assign(recorded.units.size(), 0);
  std::int64_t index = 0;
  for (const std::int64_t drawn : order)
    for (; index <= drawn; ++index) {
      P5_TRY(const auto block, reader.next());
      if (!block) return recorded;
      recorded.events.insert(recorded.events.end(), block->events.begin(), block->events.end());
      if (index != drawn) continue;
      ++recorded.blocks;
      std::size_t next = 0;
      for (const LedgerEvent& event : block->events)
        for (std::int64_t target = event.first_target;
             event.kind == LedgerEvent::Kind::scored && target < event.end_target; ++target, ++next) {
          recorded.units[static_cast<std::size_t>(target)] = block->units[next];
          recorded.bytes[static_cast<std::size_t>(target)] = block->bytes[next];
          ++recorded.targets;
        }
    }
  return recorded;
}

// The events again, from reset to reset; a stretch without a drawn target is left out, for nothing of it stays.
class Rerun {
 public:
  Rerun(const Recorded& recorded, std::span<const Window> plan, TokenBroker& broker, Scorer& scorer, Learner& learner,
        bool exact)
      : recorded_(recorded), plan_(plan), broker_(broker), scorer_(scorer), learner_(learner), exact_(exact) {}

  // What does not follow from the declaration, in words; empty: nothing.
  Result<std::string> run(std::int64_t batch_tokens) {
    struct Stretch {
      std::size_t begin, end;
      bool wanted;
    };
    std::vector<Stretch> stretches;
    std::int64_t targets = 0, updates = 0;
    const std::vector<LedgerEvent>& events = recorded_.events;
    for (std::size_t begin = 0, end; begin < events.size(); begin = end) {
      bool wanted = false;
      std::int64_t scored = 0, learnt = 0;
      for (end = begin; end < events.size() && (end == begin || events[end].kind != LedgerEvent::Kind::reset); ++end) {
        const LedgerEvent& event = events[end];
        learnt += event.kind == LedgerEvent::Kind::learnt;
        if (event.kind != LedgerEvent::Kind::scored) continue;
        scored += event.end_target - event.first_target;
        wanted = wanted || recorded_.any_drawn(event.first_target, event.end_target);
      }
      stretches.push_back({begin, end, wanted});
      if (wanted) targets += scored, updates += learnt;
    }
    log_info("a score depends on every update before it: scoring " + grouped(targets) + " targets and learning " +
             grouped(updates) + " times again");
    Progress progress("running the evaluation again", static_cast<std::uint64_t>(targets), "targets");
    for (const Stretch& stretch : stretches) {
      for (std::size_t e = stretch.begin; e < stretch.end; ++e) {
        P5_TRY(std::string finding, replay(events[e], stretch.wanted, batch_tokens, progress));
        if (!finding.empty()) return finding;
      }
      // A window may reach beyond the last drawn block.
      P5_TRY(std::string finding, score_to(stretch.end == events.size(), stretch.wanted, batch_tokens, progress));
      if (!finding.empty()) return finding;
    }
    return std::string();
  }

 private:
  Result<std::string> replay(const LedgerEvent& event, bool wanted, std::int64_t batch_tokens, Progress& progress) {
    const std::string range =
        "targets " + std::to_string(event.first_target) + " to " + std::to_string(event.end_target - 1);
    if (event.kind == LedgerEvent::Kind::scored) {
      if (event.first_target != scored_to_) return range + " are scored out of order";
      scored_to_ = event.end_target;
      return std::string();
    }
    P5_TRY(std::string finding, score_to(false, wanted, batch_tokens, progress));
    if (!finding.empty() || !wanted) return finding;
    switch (event.kind) {
      case LedgerEvent::Kind::learnt: {
        const std::int64_t targets = event.end_target - event.first_target;
        if (event.length < 1 || targets % event.length != 0) return "the update on " + range + " has no whole windows";
        if (!broker_.ledger().all_scored(event.first_target, event.end_target))
          return "the update on " + range + " is not of targets scored since the last reset";
        P5_OK(broker_.learn(learner_, event.first_target, targets / event.length, event.length, event.learning_rate));
        break;
      }
      case LedgerEvent::Kind::reset:
        P5_OK(broker_.reset(learner_));
        break;
      case LedgerEvent::Kind::content: {
        if (!exact_) break;
        P5_TRY(const auto state, learner_.state());
        if (sha256(state) != event.content)
          return "after update " + grouped(event.updates) + " the learnt values are not those that the ledger records";
        break;
      }
      case LedgerEvent::Kind::scored:
        break;
    }
    return std::string();
  }

  // Scores the windows of the targets that are on record up to here.
  Result<std::string> score_to(bool may_reach_beyond, bool wanted, std::int64_t batch_tokens, Progress& progress) {
    const std::size_t first = next_;
    while (next_ < plan_.size() && plan_[next_].first_target() < scored_to_) ++next_;
    if (next_ > 0 && plan_[next_ - 1].end_target() != scored_to_ && !may_reach_beyond)
      return "target " + std::to_string(scored_to_ - 1) +
             " ends no window of the declared mode, yet something follows it";
    if (wanted && next_ > first)
      P5_OK(broker_.score(scorer_, plan_.subspan(first, next_ - first), batch_tokens, &progress));
    return std::string();
  }

  const Recorded& recorded_;
  std::span<const Window> plan_;
  TokenBroker& broker_;
  Scorer& scorer_;
  Learner& learner_;
  bool exact_;
  std::int64_t scored_to_ = 1;
  std::size_t next_ = 0;  // window
};

}  // namespace

Result<LedgerSample> rescore_blocks(std::span<const std::byte> ledger, const EvalData& data, Scorer& scorer,
                                    const LedgerSampleSettings& settings, Learner* learner) {
  P5_TRY(const LedgerReader reader, LedgerReader::open(ledger));
  const LedgerDeclaration& declared = reader.declaration();
  LedgerSample sample;
  sample.check.id = "rescored";
  const auto answer = [&](Verdict verdict, std::string evidence) {
    sample.check.verdict = verdict;
    sample.check.evidence = std::move(evidence);
    return sample;
  };
  if (declared.targets < 1 || declared.targets > data.targets() ||
      token_sha256(data, declared.targets) != declared.data_sha256)
    return answer(Verdict::fail, "the ledger is of other data: " + grouped(declared.targets) +
                                     " targets with the hash " + declared.data_sha256.substr(0, 12) + "…");
  P5_TRY(const Mode mode, mode_from_name(declared.mode));
  const bool learns = mode_learns(mode);
  if (learns && !learner)
    return answer(Verdict::unknown, declared.mode + " learns, and nothing here can take its updates again");
  if (learns && learner->description() != declared.learner)
    return answer(Verdict::unknown, "the ledger's learner is \"" + declared.learner + "\" and the one at hand \"" +
                                        learner->description() + "\": give the evaluation's --config and --set");
  P5_TRY(const Recorded recorded, draw(ledger, settings));
  sample.blocks = recorded.blocks;
  sample.targets = recorded.targets;
  if (recorded.targets == 0)
    return answer(Verdict::unknown,
                  "the ledger has no block " +
                      (settings.first_targets > 0 ? "within its first " + grouped(settings.first_targets) + " targets "
                                                  : std::string()) +
                      "that could be scored anew");

  sample.bit_exact = declared.engine == scorer.name() && declared.engine.starts_with("exact");
  P5_TRY(std::vector<Window> plan, mode_plan(data, mode, declared.targets, declared.window, declared.stride));
  P5_TRY(TokenBroker broker, TokenBroker::create(data.tokens, declared.targets));
  if (learns) {
    learner->reset();
    Rerun rerun(recorded, plan, broker, scorer, *learner, sample.bit_exact);
    const Result<std::string> finding = rerun.run(settings.batch_tokens);
    learner->reset();
    if (!finding) return tl::unexpected(finding.error());
    if (!finding->empty()) return answer(Verdict::fail, *finding);
  } else {
    std::erase_if(
        plan, [&](const Window& window) { return !recorded.any_drawn(window.first_target(), window.end_target()); });
    std::int64_t wanted = 0;
    for (const Window& window : plan) wanted += window.scored();
    Progress progress("scoring " + std::to_string(sample.blocks) + " blocks anew", static_cast<std::uint64_t>(wanted),
                      "targets");
    P5_OK(broker.score(scorer, plan, settings.batch_tokens, &progress));
  }
  sample.run_targets = broker.ledger().scored();
  sample.run_updates = broker.ledger().updates();

  double sum = 0;
  std::int64_t other = 0, farthest = 0;
  for (std::int64_t target = 1; target <= declared.targets; ++target) {
    const std::uint32_t was = recorded.units[static_cast<std::size_t>(target)];
    if (was == kNotScored) continue;
    const std::string name = "target " + std::to_string(target);
    const std::uint32_t charged = recorded.bytes[static_cast<std::size_t>(target)];
    if (charged != target_bytes(data, target))
      return answer(Verdict::fail, name + " is charged " + std::to_string(charged) + " bytes in the ledger and " +
                                       std::to_string(target_bytes(data, target)) + " by the text");
    const std::uint32_t is = broker.ledger().units()[static_cast<std::size_t>(target - 1)];
    if (sample.bit_exact && is != was)
      return answer(Verdict::fail, name + " has " + fixed(ledger_bits(was), 6) + " bits in the ledger and " +
                                       fixed(ledger_bits(is), 6) + " by the model");
    const double difference = ledger_bits(is) - ledger_bits(was);
    sum += difference;
    other += is != was;
    if (std::abs(difference) > sample.largest_difference) {
      sample.largest_difference = std::abs(difference);
      farthest = target;
    }
  }
  sample.mean_difference = sum / static_cast<double>(recorded.targets);
  std::string drawn = grouped(sample.blocks) + " blocks (" + grouped(sample.targets) + " targets), drawn with seed " +
                      std::to_string(settings.seed);
  if (learns)
    drawn += ", with the " + grouped(sample.run_targets) + " targets and " + grouped(sample.run_updates) +
             " updates that lead to them";
  if (other == 0) return answer(Verdict::pass, drawn + ", have the same scores, bit for bit, and bytes");
  const std::string measured =
      drawn + ": by " + scorer.name() + " " + grouped(other) + " scores differ from the ledger's (" + declared.engine +
      (learns ? ", whose learning is the same bits on no other engine" : "") + "), by " +
      shortest(sample.mean_difference) + " bits on average and " + fixed(sample.largest_difference, 6) +
      " at most (target " + std::to_string(farthest) + ")";
  const double mean = std::abs(sample.mean_difference);
  if (sample.largest_difference <= kSampleTargetTolerance && mean <= kSampleMeanTolerance)
    return answer(Verdict::pass, measured + ": rounding");
  return answer(mean > 10 * kSampleMeanTolerance ? Verdict::fail : Verdict::unknown, measured);
}

}  // namespace par5
