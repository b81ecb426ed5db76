// Blocks scored anew: honest ledgers hold, and what no hash can show is found.
#include "eval/ledger_sample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "eval/score.h"
#include "fake_model.h"
#include "random_data.h"
#include "settings.h"

namespace par5 {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kVocab = 12;

// The fake model under the name of an engine.
class NamedModel final : public FakeModel {
 public:
  explicit NamedModel(std::string name) : FakeModel(kVocab), name_(std::move(name)) {}
  std::string name() const override { return name_; }

 private:
  std::string name_;
};

class LedgerSampleTest : public testing::Test {
 protected:
  std::vector<std::byte> ledger(FakeModel& model, const Mode& mode = {ModeKind::sliding},
                                const EvalData* data = nullptr) {
    const std::string path = join_path(folder_->path(), "l");
    EvalSettings settings = par5::settings(16, 4, 16384);
    settings.ttt.chunk_tokens = settings.ttt_model.chunk_tokens = 256;
    settings.ttt.lr = settings.ttt_model.lr = settings.ttt_lora.learning.lr = 0.01;
    settings.ttt_lora.learning.chunk_tokens = 4;
    settings.ttt_phased.learning.lr = 0.01;
    settings.ttt_phased.documents = 2000;
    settings.ledger = LedgerOptions{path, std::string(64, 'a'), 1, false, Overwrite::yes, 1e9};
    const auto row = run_mode(data ? *data : data_, mode, settings, model, &model);
    EXPECT_TRUE(row) << row.error().message;
    return read_file(path).value();
  }
  LedgerSample rescored(const std::vector<std::byte>& ledger, FakeModel& model, std::int64_t blocks = 2,
                        std::uint64_t seed = 1, Learner* learner = nullptr) {
    auto sample = rescore_blocks(ledger, data_, model, {.blocks = blocks, .seed = seed}, learner);
    EXPECT_TRUE(sample) << to_string(sample.error());
    return std::move(*sample);
  }

  Result<TemporaryFolder> folder_ = TemporaryFolder::create();
  EvalData data_ = random_data(70000, 1);
};

TEST_F(LedgerSampleTest, HonestLedgersHoldBitForBit) {
  for (const Mode& mode : {Mode{ModeKind::chunked}, Mode{ModeKind::sliding}, Mode{ModeKind::document_sliding}}) {
    NamedModel model("exact fake");
    const auto bytes = ledger(model, mode);
    for (const std::int64_t blocks : {1, 2, 9}) {
      const LedgerSample sample = rescored(bytes, model, blocks);
      EXPECT_EQ(sample.check.verdict, Verdict::pass) << sample.check.evidence;
      EXPECT_EQ(sample.check.id, "rescored");
      EXPECT_TRUE(sample.bit_exact);
      EXPECT_EQ(sample.blocks, std::min<std::int64_t>(blocks, 3));
      EXPECT_LE(sample.targets, blocks * 32768);
      EXPECT_EQ(sample.largest_difference, 0);
    }
    EXPECT_EQ(rescored(bytes, model, 9).targets, 70000);
  }
}

TEST_F(LedgerSampleTest, OneChangedScoreIsFound) {
  NamedModel honest("exact fake"), forger("exact fake");
  std::int64_t rows = 0;
  forger.spoil = [&](std::vector<float>& logs) {
    if (++rows != 40000) return;
    for (float& log : logs) log = std::log(1.0f / kVocab);
  };
  const auto bytes = ledger(forger, {ModeKind::chunked});
  const LedgerSample whole = rescored(bytes, honest, 3);
  EXPECT_EQ(whole.check.verdict, Verdict::fail);
  EXPECT_THAT(whole.check.evidence, HasSubstr("target 40000 has"));
  // In a sample only if its block is drawn: the second of three.
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    found += rescored(bytes, honest, 1, seed).check.verdict == Verdict::fail;
  EXPECT_GT(found, 0);
  EXPECT_LT(found, 20);
}

TEST_F(LedgerSampleTest, OtherBytesAndOtherDataAreFound) {
  NamedModel model("exact fake");
  EvalData cheap = data_;  // the same tokens, charged more
  for (auto& bytes : cheap.token_bytes.bytes) bytes = static_cast<std::uint16_t>(bytes + (bytes > 5));
  const auto charged = rescored(ledger(model, {ModeKind::chunked}, &cheap), model);
  EXPECT_EQ(charged.check.verdict, Verdict::fail);
  EXPECT_THAT(charged.check.evidence, HasSubstr("bytes in the ledger"));
  const EvalData others = random_data(70000, 2);
  const auto other = rescored(ledger(model, {ModeKind::chunked}, &others), model);
  EXPECT_EQ(other.check.verdict, Verdict::fail);
  EXPECT_THAT(other.check.evidence, HasSubstr("other data"));
}

TEST_F(LedgerSampleTest, AnotherEngineMayRound) {
  NamedModel exact("exact fake"), rounding("torch float32"), sharper("torch float32");
  int row = 0;
  rounding.spoil = [&](std::vector<float>& logs) {
    const float change = ++row % 2 ? 1e-5f : -1e-5f;
    for (float& log : logs) log += change;
  };
  const LedgerSample near = rescored(ledger(rounding), exact);
  EXPECT_EQ(near.check.verdict, Verdict::pass) << near.check.evidence;
  EXPECT_FALSE(near.bit_exact);
  EXPECT_GT(near.largest_difference, 0);
  sharper.spoil = [](std::vector<float>& logs) {
    for (float& log : logs) log += 4e-5f;
  };  // within what a sum of floats may be off
  EXPECT_EQ(rescored(ledger(sharper), exact).check.verdict, Verdict::pass);
  // Another model: far off on average.
  NamedModel other("torch float32");
  other.spoil = [](std::vector<float>& logs) { std::rotate(logs.begin(), logs.begin() + 1, logs.end()); };
  EXPECT_EQ(rescored(ledger(other), exact).check.verdict, Verdict::fail);
}

// Where a mode learns, the updates are taken again: honest ledgers hold in every kind, whichever block is drawn.
TEST_F(LedgerSampleTest, WhatLearnsIsRunAgain) {
  for (const ModeKind kind : {ModeKind::ttt_scalars, ModeKind::ttt_model, ModeKind::ttt_lora, ModeKind::ttt_phased})
    for (const bool no_learning : {false, true}) {
      NamedModel model("exact fake");
      const auto bytes = ledger(model, {kind, no_learning});
      for (const std::uint64_t seed : {1, 2}) {
        const LedgerSample sample = rescored(bytes, model, 1, seed, &model);
        EXPECT_EQ(sample.check.verdict, Verdict::pass)
            << mode_name({kind, no_learning}) << ": " << sample.check.evidence;
        EXPECT_TRUE(sample.bit_exact);
        EXPECT_GE(sample.run_targets, sample.targets);
      }
    }
}

// No more is run than what leads to the drawn block: in ttt:lora, which begins anew with every document, little.
TEST_F(LedgerSampleTest, TheCostOfLearningIsBounded) {
  NamedModel model("exact fake");
  const auto carried = ledger(model, {ModeKind::ttt_scalars});
  auto sample = rescore_blocks(carried, data_, model, {.blocks = 3, .first_targets = 40000}, &model);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->check.verdict, Verdict::pass);
  EXPECT_EQ(sample->blocks, 1);
  EXPECT_NEAR(static_cast<double>(sample->run_targets), 32768, 16);
  EXPECT_EQ(rescored(carried, model, 9, 1, &model).run_targets, 70000);
  EXPECT_EQ(rescored(carried, model, 1, 1, nullptr).check.verdict, Verdict::unknown);
  sample = rescore_blocks(carried, data_, model, {.blocks = 3, .first_targets = 1000}, &model);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->check.verdict, Verdict::unknown);
  EXPECT_THAT(sample->check.evidence, HasSubstr("within its first 1,000 targets"));

  const auto anew = ledger(model, {ModeKind::ttt_lora});
  std::int64_t least = 1 << 30;
  for (std::uint64_t seed = 1; seed <= 4; ++seed)
    least = std::min(least, rescored(anew, model, 1, seed, &model).run_targets);
  EXPECT_LT(least, 6000);  // the last block's 4,464 and the rest of a document
}

// A score, a step or a learnt value that is not what the declared mode gives.
TEST_F(LedgerSampleTest, WrongScoresAndUpdatesOfLearningAreFound) {
  NamedModel honest("exact fake"), forger("exact fake"), greedy("exact fake");
  std::int64_t rows = 0;
  forger.spoil = [&](std::vector<float>& logs) {
    if (++rows != 40000) return;
    for (float& log : logs) log = std::log(1.0f / kVocab);
  };
  const LedgerSample wrong = rescored(ledger(forger, {ModeKind::ttt_scalars}), honest, 9, 1, &honest);
  EXPECT_EQ(wrong.check.verdict, Verdict::fail);
  EXPECT_THAT(wrong.check.evidence, HasSubstr("target 40000 has"));

  // It takes larger steps than it records.
  greedy.hidden_factor = 1.5;
  const auto bytes = ledger(greedy, {ModeKind::ttt_scalars});
  const LedgerSample learnt = rescored(bytes, honest, 9, 1, &honest);
  EXPECT_EQ(learnt.check.verdict, Verdict::fail);
  // Its learnt values give it away where they are on record before the first sampled score, else the score does.
  EXPECT_THAT(learnt.check.evidence, testing::AnyOf(HasSubstr("bits in the ledger"), HasSubstr("learnt values")));

  // By another engine the same forgery is too large for rounding.
  NamedModel torch("torch float32");
  torch.hidden_factor = 1.5;
  const LedgerSample far = rescored(ledger(torch, {ModeKind::ttt_scalars}), honest, 9, 1, &honest);
  EXPECT_NE(far.check.verdict, Verdict::pass) << far.check.evidence;
  EXPECT_FALSE(far.bit_exact);
  NamedModel fair("torch float32");
  const LedgerSample near = rescored(ledger(fair, {ModeKind::ttt_scalars}), honest, 9, 1, &honest);
  EXPECT_EQ(near.check.verdict, Verdict::pass);
  EXPECT_THAT(near.check.evidence, HasSubstr("same scores, bit for bit"));
  NamedModel rounded("torch float32");
  rounded.spoil = [](std::vector<float>& logs) {
    for (float& log : logs) log -= 2e-6f;
  };
  const LedgerSample off = rescored(ledger(rounded, {ModeKind::ttt_scalars}), honest, 9, 1, &honest);
  EXPECT_EQ(off.check.verdict, Verdict::pass);
  EXPECT_THAT(off.check.evidence, HasSubstr("the same bits on no other engine"));
}

TEST_F(LedgerSampleTest, AnotherLearnerIsNotTheLedgers) {
  class Other final : public FakeModel {
   public:
    Other() : FakeModel(kVocab) {}
    std::string description() const override { return "sgd momentum 0.5"; }
  } other;
  NamedModel model("exact fake");
  const LedgerSample sample = rescored(ledger(model, {ModeKind::ttt_scalars}), model, 1, 1, &other);
  EXPECT_EQ(sample.check.verdict, Verdict::unknown);
  EXPECT_THAT(sample.check.evidence, HasSubstr("--config"));
}

// A ledger that is damaged is an error or a finding, never a crash.
TEST_F(LedgerSampleTest, DamagedLedgersAreRefused) {
  NamedModel model("exact fake");
  const auto bytes = ledger(model, {ModeKind::chunked});
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    auto damaged = bytes;
    if (i % 2)
      damaged.resize(random() % damaged.size());
    else
      damaged[random() % (i % 4 ? damaged.size() : 700)] ^= std::byte{1};
    const auto sample = rescore_blocks(damaged, data_, model, {.blocks = 1});
    if (!sample) {
      EXPECT_EQ(sample.error().code, ErrorCode::bad_data);
    }
  }
}

}  // namespace
}  // namespace par5
