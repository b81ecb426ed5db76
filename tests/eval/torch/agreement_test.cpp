// What must not change a score: threads, batches, interruptions; and windows longer than those of training.
#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "eval/plan.h"
#include "small_model.h"

namespace par5 {
namespace {

// A scorer whose machine is switched off after so many calls.
class MortalScorer final : public Scorer {
 public:
  MortalScorer(Scorer& inner, std::int64_t last_call) : inner_(inner), last_call_(last_call) {}
  std::int64_t vocab() const override { return inner_.vocab(); }
  std::string name() const override { return inner_.name(); }
  Status score(const WindowBatch& batch, const Sink& sink) override {
    if (++calls_ > last_call_) return internal_error("the machine was switched off");
    return inner_.score(batch, sink);
  }

 private:
  Scorer& inner_;
  std::int64_t calls_ = 0, last_call_;
};

// bpb to 8 digits: of one pass, of a resumed one, for 1 and 2 threads and for batches of 1, 7 and 32 windows.
TEST(Agreement, EightDigitsWhateverTheBatchTheThreadsAndInterruptions) {
  const StoredModel stored = random_model(21);
  const EvalData data = random_data(3000, 22);
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  for (const ModeKind kind : {ModeKind::chunked, ModeKind::sliding, ModeKind::document, ModeKind::document_sliding}) {
    std::optional<double> first;
    for (const int threads : {1, 2})
      for (const std::int64_t batch : {1, 7, 32}) {
        const ThreadCount count(threads);
        const auto scorer = make_scorer(stored);
        EvalSettings options = settings(16, 8, batch * 16);
        const auto row = run_mode(data, {kind}, options, *scorer, nullptr);
        ASSERT_TRUE(row);
        if (!first) first = row->bpb();
        const double scale = std::pow(10.0, std::ceil(std::log10(*first)));  // of the first digit
        EXPECT_NEAR(row->bpb(), *first, 0.5e-8 * scale) << mode_name({kind}) << " " << threads << " " << batch;

        options.ledger =
            LedgerOptions{join_path(folder->path(), mode_name({kind}) + std::to_string(threads * 100 + batch)),
                          std::string(64, 'a'),
                          1,
                          false,
                          Overwrite::no,
                          1e9};
        MortalScorer mortal(*scorer, 3);
        EXPECT_FALSE(run_mode(data, {kind}, options, mortal, nullptr));
        options.ledger->resume = true;
        const auto resumed = run_mode(data, {kind}, options, *scorer, nullptr);
        ASSERT_TRUE(resumed) << resumed.error().message;
        // The same batches and threads: not only 8 digits.
        EXPECT_EQ(resumed->target_units, row->target_units) << mode_name({kind}) << " " << threads << " " << batch;
      }
  }
}

// RoPE has an angle for every position: a window of twice the trained context is scored as its definition says.
TEST(Agreement, WindowsLongerThanTrainedAreScored) {
  const StoredModel stored = random_model(23);
  ASSERT_EQ(stored.model.context, 16);
  EvalConfig eval;
  eval.window = 48;  // beyond rope_max_context too
  EXPECT_EQ(*resolve_window(eval, stored.model), 48);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(120, 24);
  const auto row = run_mode(data, {ModeKind::sliding}, settings(48, 20, 200), *scorer, nullptr);
  ASSERT_TRUE(row) << row.error().message;
  const std::span<const std::uint16_t> tokens = data.tokens;
  const std::vector<Window> plan = *sliding_plan(120, 48, 20);
  for (const Window& window : plan)
    for (std::int64_t t = window.first_target(); t < window.end_target(); ++t) {
      const auto logs = distribution(
          *scorer, tokens.subspan(static_cast<std::size_t>(window.start), static_cast<std::size_t>(t - window.start)));
      EXPECT_NEAR(row->target_nats(t), -logs[tokens[static_cast<std::size_t>(t)]], 1e-5);
    }
}

TEST(Agreement, LearnedPositionsEndWhereTheyEnd) {
  const StoredModel stored = random_gpt2(25);
  const auto scorer = make_scorer(stored);
  const EvalData data = random_data(60, 26);
  EXPECT_TRUE(run_mode(data, {ModeKind::sliding}, settings(16, 4, 64), *scorer, nullptr));
  const auto longer = run_mode(data, {ModeKind::sliding}, settings(17, 4, 64), *scorer, nullptr);
  ASSERT_FALSE(longer);
  EXPECT_NE(longer.error().message.find("16 learned positions"), std::string::npos) << longer.error().message;
  EvalConfig eval;
  eval.window = 17;
  const auto window = resolve_window(eval, stored.model);
  ASSERT_FALSE(window);
  EXPECT_EQ(window.error().code, ErrorCode::usage);
  EXPECT_EQ(window.error().key, "eval.window");
}

}  // namespace
}  // namespace par5
