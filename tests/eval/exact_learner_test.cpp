// The exact engine in the modes that learn: the same ledger for every kernel and number of threads, clean in the audit,
// and the arm at learning rate 0.
#include "eval/exact_learner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "eval/engine_scorer.h"
#include "eval/ledger_audit.h"
#include "random_data.h"
#include "settings.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

using namespace testing_support;

constexpr double kTemperature = 1.2;

StoredModel small_model() {
  ModelConfig model = small_unet();
  model.layers = 2;
  return random_model(model, quantizer_of(Grid::quinary, Granularity::group, 24), 3);
}

EvalSettings learning_settings() {
  EvalSettings settings = par5::settings(24, 10, 100);
  settings.ttt.chunk_tokens = 50;
  settings.ttt.batch_windows = 2;
  settings.ttt_model.chunk_tokens = settings.online.chunk_tokens = 40;
  settings.ttt_model.lr = 0.01;
  settings.ttt_phased.documents = 5;
  settings.ttt_phased.phases = 3;
  return settings;
}

ScoreRow run(const StoredModel& model, const EvalData& data, const Mode& mode, const EvalSettings& settings,
             const EngineOptions& options = {Arithmetic::fp32, "", 1}) {
  auto learner =
      ExactLearner::create(model, options, mode.kind, settings.learning(mode.kind), 1e-3, kTemperature).value();
  EngineScorer scorer(learner->engine(), kTemperature);
  auto row = run_mode(data, mode, settings, scorer, learner.get());
  EXPECT_TRUE(row) << row.error().message;
  return std::move(row).value();
}

const std::vector<ModeKind>& kinds() {
  static const std::vector<ModeKind> all = {ModeKind::ttt_scalars, ModeKind::ttt_model, ModeKind::ttt_phased,
                                            ModeKind::online};
  return all;
}

TEST(ExactLearner, TheLedgerIsTheSameForEveryKernelAndThreadsAndItsAuditIsClean) {
  const StoredModel model = small_model();
  const EvalData data = random_data(130, 4, model.model.vocab);
  const TemporaryFolder folder = TemporaryFolder::create().value();
  for (const ModeKind kind : kinds()) {
    std::string head;
    std::vector<std::pair<std::string, std::size_t>> machines = {{"", 2}, {"", 3}};
    for (const std::string& kernel : kernel_names()) machines.emplace_back(kernel, 1);
    for (const auto& [kernel, threads] : machines) {
      EvalSettings with_ledger = learning_settings();
      with_ledger.ledger = LedgerOptions{};
      with_ledger.ledger->path = join_path(folder.path(), kernel + std::to_string(threads) + ".ledger");
      with_ledger.ledger->model_sha256 = std::string(64, 'a');
      with_ledger.ledger->overwrite = Overwrite::yes;
      const ScoreRow row = run(model, data, {kind}, with_ledger, {Arithmetic::fp32, kernel, threads});
      EXPECT_GT(row.updates, 2) << mode_name({kind});
      if (head.empty()) head = row.ledger_sha256;
      EXPECT_EQ(row.ledger_sha256, head) << mode_name({kind}) << " " << kernel << " " << threads;
      const std::vector<std::byte> file = read_file(with_ledger.ledger->path).value();
      const LedgerAudit audit = audit_ledger(file, head);
      EXPECT_EQ(audit.verdict, Verdict::pass) << audit.first_violation;
      EXPECT_EQ(audit.found.updates, row.updates);
    }
  }
}

// At rate 0 the bits are those of plain sliding windows; learning changes them, and the learner is as new behind it.
TEST(ExactLearner, TheArmAtRateZeroIsTheSlidingPass) {
  const StoredModel model = small_model();
  const EvalData data = random_data(200, 5, model.model.vocab);
  auto scorer = EngineScorer::create(model, {Arithmetic::fp32, "", 1}, kTemperature).value();
  const ScoreRow sliding = run_mode(data, {ModeKind::sliding}, learning_settings(), *scorer, nullptr).value();
  for (const ModeKind kind : kinds()) {
    const ScoreRow still = run(model, data, {kind, true}, learning_settings());
    EXPECT_EQ(still.target_units, sliding.target_units) << mode_name({kind});
    EXPECT_NE(run(model, data, {kind}, learning_settings()).target_units, sliding.target_units) << mode_name({kind});
  }
}

// The text repeats itself, so that whoever learns from it does better.
TEST(ExactLearner, LearningHelpsOnATextThatRepeatsItself) {
  for (const StoredModel& model :
       {small_model(), random_model(small_gpt2(), quantizer_of(Grid::ternary, Granularity::row, 1), 8)}) {
    EvalData data = random_data(400, 6, model.model.vocab);
    for (std::size_t i = 60; i < data.tokens.size(); ++i) data.tokens[i] = data.tokens[i - 60];
    for (const ModeKind kind : kinds()) {
      if (kind == ModeKind::ttt_scalars && model.model.backbone == Backbone::gpt2) continue;  // it has none
      EXPECT_LT(run(model, data, {kind}, learning_settings()).nats,
                run(model, data, {kind, true}, learning_settings()).nats)
          << mode_name({kind});
    }
  }
}

// Scores until it has been asked so often, as before a crash.
class MortalScorer final : public Scorer {
 public:
  MortalScorer(Scorer& inner, int calls) : inner_(inner), calls_(calls) {}
  std::int64_t vocab() const override { return inner_.vocab(); }
  std::string name() const override { return inner_.name(); }
  Status score(const WindowBatch& batch, const Sink& sink) override {
    if (calls_-- <= 0) return internal_error("the machine was switched off");
    return inner_.score(batch, sink);
  }

 private:
  Scorer& inner_;
  int calls_;
};

// Interrupted with and without a snapshot of what is learnt, an evaluation goes on to the same head hash.
TEST(ExactLearner, ResumesToTheSameBits) {
  const StoredModel model = small_model();
  const EvalData data = random_data(200, 7, model.model.vocab);
  const TemporaryFolder folder = TemporaryFolder::create().value();
  for (const ModeKind kind : {ModeKind::ttt_model, ModeKind::online}) {
    std::string head;
    for (const double snapshot_seconds : {-1.0, 0.0, 1e9})  // -1: not interrupted
      for (const int calls : snapshot_seconds < 0 ? std::vector{1000} : std::vector{3, 1000}) {
        EvalSettings options = learning_settings();
        options.ledger = LedgerOptions{};
        options.ledger->path = join_path(folder.path(), mode_name({kind}) + std::to_string(snapshot_seconds));
        options.ledger->model_sha256 = std::string(64, 'a');
        options.ledger->resume = snapshot_seconds >= 0;
        options.ledger->snapshot_seconds = std::abs(snapshot_seconds);
        auto learner =
            ExactLearner::create(model, {Arithmetic::fp32, "", 1}, kind, options.learning(kind), 1e-3, kTemperature)
                .value();
        EngineScorer inner(learner->engine(), kTemperature);
        MortalScorer scorer(inner, calls);
        const auto row = run_mode(data, {kind}, options, scorer, learner.get());
        ASSERT_EQ(row.has_value(), calls == 1000) << (row ? "" : row.error().message);
        if (!row) continue;
        if (head.empty()) head = row->ledger_sha256;
        EXPECT_EQ(row->ledger_sha256, head) << mode_name({kind}) << " " << snapshot_seconds;
        EXPECT_EQ(learner->restore({}).error().code, ErrorCode::bad_data);
      }
  }
}

TEST(ExactLearner, NamesWhatItCannot) {
  const StoredModel model = small_model();
  const auto error = [&](ModeKind kind, TttConfig learning, EngineOptions options = {Arithmetic::fp32, "", 1}) {
    const auto made = ExactLearner::create(model, options, kind, learning, 1e-3, 1.0);
    EXPECT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::usage);
    return made.error().message;
  };
  EXPECT_NE(error(ModeKind::ttt_lora, lora_learning()).find("low-rank"), std::string::npos);
  TttConfig adam = model_learning();
  adam.optimizer = TttOptimizer::adamw;
  EXPECT_NE(error(ModeKind::ttt_model, adam).find("adamw needs --engine torch"), std::string::npos);
  EXPECT_NE(error(ModeKind::online, model_learning()).find("sgd alone"), std::string::npos);
  EXPECT_NE(error(ModeKind::ttt_model, model_learning(), {Arithmetic::int8, "", 1}).find("fp32"), std::string::npos);
}

}  // namespace
}  // namespace par5
