// The ledger on disk: what is written is what happened, an interrupted evaluation goes on to the same bytes, and the
// audit finds what was done to a file.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <random>

#include "eval/broker.h"
#include "eval/ledger_audit.h"
#include "eval/ledger_file.h"
#include "eval/score.h"
#include "eval/ttt.h"
#include "fake_model.h"
#include "random_data.h"
#include "settings.h"

namespace par5 {
namespace {

constexpr std::int64_t kVocab = 12;

// A model whose scoring is cut short after so many calls, as by a crash.
class MortalModel final : public FakeModel {
 public:
  explicit MortalModel(std::int64_t last_call) : FakeModel(kVocab), last_call_(last_call) {}
  Status score(const WindowBatch& batch, const Sink& sink) override {
    if (++calls > last_call_) return internal_error("the machine was switched off");
    return FakeModel::score(batch, sink);
  }
  std::int64_t calls = 0;

 private:
  std::int64_t last_call_;
};

class LedgerTest : public testing::Test {
 protected:
  std::string path(const std::string& name = "l") const { return join_path(folder_->path(), name); }

  EvalSettings settings(const std::string& name = "l", bool resume = false, double snapshot_seconds = 1e9) const {
    EvalSettings settings = par5::settings(16, 4, 1024);
    settings.ttt.chunk_tokens = 64;
    settings.ledger = LedgerOptions{path(name), std::string(64, 'a'), 1, resume, Overwrite::no, snapshot_seconds};
    return settings;
  }

  static std::vector<std::byte> bytes_of(const std::string& path) { return read_file(path).value(); }

  Result<TemporaryFolder> folder_ = TemporaryFolder::create();
};

const Verdict& verdict_of(const LedgerAudit& audit, const std::string& id) {
  return std::find_if(audit.checks.begin(), audit.checks.end(), [&](const AuditCheck& c) { return c.id == id; })
      ->verdict;
}

TEST_F(LedgerTest, WhatIsWrittenIsWhatHappened) {
  const EvalData data = random_data(70000, 1);
  for (const Mode& mode : {Mode{ModeKind::chunked}, Mode{ModeKind::document_sliding}, Mode{ModeKind::ttt_scalars}}) {
    FakeModel model(kVocab);
    EvalSettings options = settings(mode_name(mode));
    options.ttt.chunk_tokens = 8192;
    const auto row = run_mode(data, mode, options, model, &model);
    ASSERT_TRUE(row) << row.error().message;
    const LedgerAudit audit = audit_ledger(bytes_of(path(mode_name(mode))), row->ledger_sha256);
    EXPECT_EQ(audit.verdict, Verdict::pass) << audit.first_violation;
    EXPECT_EQ(audit.blocks, 3);
    EXPECT_EQ(audit.found.targets, 70000);
    EXPECT_EQ(audit.found.bytes, row->bytes);
    EXPECT_EQ(audit.found.updates, row->updates);
    EXPECT_DOUBLE_EQ(audit.found.bpb(), row->bpb());
    EXPECT_LT(audit.file_bytes, 70000u * 6) << mode_name(mode);
    EXPECT_EQ(audit.declaration->learner.empty(), mode.kind != ModeKind::ttt_scalars);
    // Each score and charge, by target.
    const auto bytes = bytes_of(path(mode_name(mode)));
    auto reader = LedgerReader::open(bytes);
    ASSERT_TRUE(reader);
    for (auto block = reader->next(); *block; block = reader->next()) {
      std::size_t i = 0;
      for (const LedgerEvent& event : (*block)->events)
        for (std::int64_t t = event.first_target; event.kind == LedgerEvent::Kind::scored && t < event.end_target;
             ++t, ++i) {
          EXPECT_EQ((*block)->bytes[i], target_bytes(data, t));
          EXPECT_FLOAT_EQ(static_cast<float>(ledger_nats((*block)->units[i])), row->target_nats(t));
        }
    }
  }
}

// The order of batches, and so of sums, is another; the head hash is the same.
TEST_F(LedgerTest, TheFileDoesNotDependOnTheBatch) {
  const EvalData data = random_data(3000, 2);
  std::vector<std::string> heads;
  for (const std::int64_t batch : {1, 7, 32}) {
    FakeModel model(kVocab);
    EvalSettings options = settings(std::to_string(batch));
    options.batch_tokens = batch * 16;
    heads.push_back(run_mode(data, {ModeKind::ttt_scalars}, options, model, &model)->ledger_sha256);
  }
  EXPECT_EQ(heads[0], heads[1]);
  EXPECT_EQ(heads[0], heads[2]);
}

// Interrupted anywhere, with and without a snapshot, an evaluation goes on to the same file, byte for byte.
TEST_F(LedgerTest, ResumedIsAsIfNothingHadHappened) {
  const EvalData data = random_data(40000, 3);
  for (const Mode& mode : {Mode{ModeKind::sliding}, Mode{ModeKind::document_sliding}, Mode{ModeKind::ttt_scalars}}) {
    MortalModel whole(std::int64_t{1} << 40);
    EvalSettings options = settings(mode_name(mode));
    options.ttt.chunk_tokens = 2048;
    const auto row = run_mode(data, mode, options, whole, &whole);
    ASSERT_TRUE(row);
    std::mt19937 random(4);
    for (const bool with_snapshot : {true, false}) {
      const std::string name = mode_name(mode) + (with_snapshot ? "+" : "-");
      for (int attempt = 0; attempt < 2; ++attempt) {
        // First late, behind a whole block, then soon after having caught up.
        const double share = 0.84 + 0.1 * static_cast<double>(random() % 100) / 100;
        MortalModel model(attempt == 0 ? static_cast<std::int64_t>(share * static_cast<double>(whole.calls))
                                       : 1 + random() % 4);
        options.ledger = settings(name, attempt > 0, with_snapshot ? 0.01 : 1e9).ledger;
        EXPECT_FALSE(run_mode(data, mode, options, model, &model));
        EXPECT_EQ(file_exists(path(name) + ".snapshot"), with_snapshot);
        const LedgerAudit prefix = audit_ledger(bytes_of(path(name)), "");
        EXPECT_EQ(prefix.verdict, Verdict::unknown);
        EXPECT_EQ(verdict_of(prefix, "chain"), Verdict::pass);
        EXPECT_EQ(verdict_of(prefix, "sealed"), Verdict::unknown);
      }
      FakeModel model(kVocab);
      options.ledger = settings(name, true).ledger;
      const auto resumed = run_mode(data, mode, options, model, &model);
      ASSERT_TRUE(resumed) << resumed.error().message;
      EXPECT_EQ(resumed->ledger_sha256, row->ledger_sha256) << name;
      EXPECT_EQ(bytes_of(path(name)), bytes_of(path(mode_name(mode))));
      EXPECT_EQ(resumed->bpb(), row->bpb());
      if (with_snapshot && mode_learns(mode)) {
        EXPECT_LT(model.steps.size(), whole.steps.size());
      }
      EXPECT_FALSE(file_exists(path(name) + ".snapshot"));
    }
  }
}

TEST_F(LedgerTest, ATornRecordIsCutOff) {
  const EvalData data = random_data(40000, 5);
  FakeModel model(kVocab);
  const auto row = run_mode(data, {ModeKind::chunked}, settings(), model, nullptr);
  ASSERT_TRUE(row);
  auto bytes = bytes_of(path());
  for (const std::size_t cut : {bytes.size() - 1, bytes.size() / 2, std::size_t{600}}) {
    const std::string name = std::to_string(cut);
    ASSERT_TRUE(write_file(path(name), std::span(bytes).first(cut), Overwrite::no));
    const LedgerAudit audit = audit_ledger(bytes_of(path(name)), "");
    EXPECT_EQ(audit.verdict, Verdict::unknown);
    EXPECT_EQ(run_mode(data, {ModeKind::chunked}, settings(name, true), model, nullptr)->ledger_sha256,
              row->ledger_sha256);
  }
}

TEST_F(LedgerTest, AnotherEvaluationIsNotResumed) {
  const EvalData data = random_data(3000, 6);
  MortalModel model(2);
  EXPECT_FALSE(run_mode(data, {ModeKind::sliding}, settings(), model, nullptr));
  FakeModel other(kVocab);
  auto options = settings("l", true);
  options.stride = 5;
  const auto refused = run_mode(data, {ModeKind::sliding}, options, other, nullptr);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_NE(refused.error().message.find("stride was 4 and is now 5"), std::string::npos) << refused.error().message;
  EXPECT_EQ(run_mode(data, {ModeKind::sliding}, settings(), other, nullptr).error().code, ErrorCode::usage);  // exists
  ASSERT_TRUE(run_mode(data, {ModeKind::sliding}, settings("l", true), other, nullptr));
  EXPECT_EQ(run_mode(data, {ModeKind::sliding}, settings("l", true), other, nullptr).error().code, ErrorCode::usage);
}

// --- The audit, against ledgers that were never honest: their chains are whole, their story is not.

struct Story {
  LedgerDeclaration declaration;
  std::vector<LedgerBlock> blocks;
  LedgerClaim claim;
};

// 12 targets in two blocks, one update on the first four.
Story honest_story() {
  Story story;
  story.declaration.mode = "ttt:scalars";
  story.declaration.targets = 12;
  story.declaration.engine = "none";
  story.declaration.model_sha256 = std::string(64, 'a');
  story.declaration.learner = "sgd";
  using Kind = LedgerEvent::Kind;
  LedgerBlock first, second;
  first.events = {
      {Kind::scored, 1, 7, 0, 0, 0, {}}, {Kind::learnt, 1, 5, 0, 2, 0.5, {}}, {Kind::scored, 7, 9, 1, 0, 0, {}}};
  first.units = {1, 2, 3, 4, 5, 6, 7, 8};
  first.bytes = {1, 1, 1, 1, 1, 1, 300, 1};
  second.events = {{Kind::scored, 9, 13, 1, 0, 0, {}}};
  second.units = {9, 10, 11, 12};
  second.bytes = {0, 1, 2, 3};
  story.blocks = {first, second};
  story.claim = {12, 78, 313, 1};
  return story;
}

std::vector<std::byte> told(Story story, bool seal = true) {
  std::string bytes(kLedgerMagic);
  bytes += {1, 0, 0, 0};
  std::string link;
  const auto add = [&](LedgerTag tag, const std::string& body) {
    const std::string record = record_bytes(tag, body);
    const std::string since = link.empty() ? bytes + record : record;
    const Digest next = ledger_link(link, since);
    link.assign(reinterpret_cast<const char*>(next.data()), next.size());
    bytes += record + link;
  };
  add(LedgerTag::declaration, declaration_body(story.declaration));
  Digest state = *first_state(story.declaration);
  for (LedgerBlock& block : story.blocks) {
    for (const LedgerEvent& event : block.events)
      if (event.kind == LedgerEvent::Kind::learnt) state = next_state(state, event);
    for (std::size_t i = 0; i < state.size(); ++i) block.state[i] ^= state[i];  // 0 unless a test says otherwise
    add(LedgerTag::block, block_body(block));
  }
  if (seal) add(LedgerTag::seal, claim_body(story.claim, state));
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return {data, data + bytes.size()};
}

void expect_violation(const Story& story, const std::string& id, const std::string& evidence) {
  const LedgerAudit audit = audit_ledger(told(story), "");
  EXPECT_EQ(audit.verdict, Verdict::fail);
  EXPECT_EQ(verdict_of(audit, id), Verdict::fail) << id << ": " << audit.first_violation;
  EXPECT_EQ(verdict_of(audit, "chain"), Verdict::pass);
  EXPECT_NE(audit.first_violation.find(evidence), std::string::npos) << audit.first_violation;
}

TEST(LedgerAudit, AnHonestLedgerPasses) {
  const auto bytes = told(honest_story());
  const LedgerAudit audit = audit_ledger(bytes, "");
  EXPECT_EQ(audit.verdict, Verdict::pass) << audit.first_violation;
  EXPECT_TRUE(audit.sealed);
  EXPECT_EQ(audit_ledger(bytes, audit.head).verdict, Verdict::pass);
  EXPECT_EQ(audit_ledger(bytes, std::string(64, '0')).verdict, Verdict::fail);
  EXPECT_EQ(audit_ledger(told(honest_story(), false), "").verdict, Verdict::unknown);
  EXPECT_EQ(audit_ledger(told(honest_story(), false), audit.head).verdict, Verdict::fail);
  EXPECT_EQ(ledger_audit_proves(audit).size(), 3u);
  EXPECT_FALSE(ledger_audit_leaves_open(audit).empty());
}

TEST(LedgerAudit, NamesTheViolation) {
  Story story = honest_story();
  story.blocks[0].events[1] = {LedgerEvent::Kind::learnt, 5, 9, 0, 4, 0.5, {}};  // 7 and 8 are scored after it
  expect_violation(story, "order", "update 0 learns from target 7 before it is scored");
  story = honest_story();
  story.blocks[1].events[0] = {LedgerEvent::Kind::scored, 8, 12, 0, 0, 0, {}};
  expect_violation(story, "coverage", "block 1 (offset ");
  expect_violation(story, "coverage", "target 8 is scored a second time");
  story = honest_story();
  story.blocks.pop_back();
  story.claim = {8, 36, 307, 1};
  expect_violation(story, "coverage", "8 of the declared 12 targets are scored");
  story = honest_story();
  std::swap(story.blocks[0], story.blocks[1]);
  expect_violation(story, "order", "target 9 is scored where target 1 is due");
  story = honest_story();
  story.claim.units = 77;
  expect_violation(story, "sums", "the claim is 77 units of 2^-22 bits and the blocks hold 78");
  story = honest_story();
  story.claim.bytes = 314;
  expect_violation(story, "sums", "the claim is 314 bytes and the blocks hold 313");
  story = honest_story();
  story.claim.updates = 0;
  expect_violation(story, "sums", "the claim is 0 updates");
  story = honest_story();
  story.declaration.learner = "";
  expect_violation(story, "order", "something is learnt, which the declaration excludes");
  story = honest_story();
  story.blocks[1].state[3] = std::byte{1};
  expect_violation(story, "states", "block 1");
  story = honest_story();
  story.blocks[0].units[2] = kNotScored;
  story.claim.units += kNotScored - 3;
  expect_violation(story, "sums", "a score is no number of bits");
}

// Bytes that are no ledger, and blocks that contradict themselves, are failed audits and never a crash.
TEST(LedgerAudit, HostileBytes) {
  EXPECT_EQ(audit_ledger({}, "").verdict, Verdict::fail);
  const auto bytes = told(honest_story());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_NE(audit_ledger(std::span(bytes).first(size), "").verdict, Verdict::pass) << size;
  // Each body byte changed and the chain made anew: the parser meets every kind of damage.
  const std::string body = block_body(honest_story().blocks[0]);
  for (std::size_t at = 0; at < body.size(); ++at)
    for (const int flip : {1, 0x80, 0xff}) {
      std::string damaged = body;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto block = parse_block(damaged, 12, 0);
      EXPECT_TRUE(!block || block_body(*block) == damaged);
    }
}

// Random edits, swaps, deletions, insertions, truncations; half of them with the chain made whole again. Against the
// recorded head hash none passes.
void mutate_and_audit(int mutations, unsigned seed) {
  const auto folder = TemporaryFolder::create();
  const EvalData data = random_data(500, seed);
  FakeModel model(kVocab);
  EvalSettings options = settings(16, 8);
  options.ttt.chunk_tokens = 64;
  const std::string path = join_path(folder->path(), "l");
  options.ledger = LedgerOptions{path, std::string(64, 'a'), 1, false, Overwrite::no, 1e9};
  const auto row = run_mode(data, {ModeKind::ttt_scalars}, options, model, &model);
  ASSERT_TRUE(row);
  const auto original = read_file(path).value();
  ASSERT_EQ(audit_ledger(original, row->ledger_sha256).verdict, Verdict::pass);

  std::mt19937_64 random(seed);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  // Rebuilds every link, as a forger would.
  const auto rehash = [](std::vector<std::byte>& bytes) {
    std::string link;
    for (std::size_t begin = 0, at = 12; at + 5 + 32 <= bytes.size();) {
      std::uint32_t size = 0;
      std::memcpy(&size, bytes.data() + at + 1, 4);
      const std::size_t end = at + 5 + std::size_t{size};
      if (end + 32 > bytes.size()) return;
      const Digest next = ledger_link(link, {reinterpret_cast<const char*>(bytes.data()) + begin, end - begin});
      std::memcpy(bytes.data() + end, next.data(), 32);
      link.assign(reinterpret_cast<const char*>(next.data()), 32);
      begin = at = end + 32;
    }
  };
  int rejected = 0, whole_chains = 0;
  for (int i = 0; i < mutations; ++i) {
    auto bytes = original;
    while (bytes == original) {
      const auto offset = static_cast<std::ptrdiff_t>(below(bytes.size()));
      const auto length = static_cast<std::ptrdiff_t>(
          std::min<std::size_t>(1 + below(64), bytes.size() - static_cast<std::size_t>(offset)));
      switch (below(5)) {
        case 0:
          bytes[static_cast<std::size_t>(offset)] = static_cast<std::byte>(random());
          break;
        case 1:
          bytes.erase(bytes.begin() + offset, bytes.begin() + offset + length);
          break;
        case 2:
          bytes.insert(bytes.begin() + offset, static_cast<std::size_t>(length), static_cast<std::byte>(random()));
          break;
        case 3:
          bytes.resize(static_cast<std::size_t>(offset));
          break;
        default: {
          const auto other = static_cast<std::ptrdiff_t>(below(bytes.size() - static_cast<std::size_t>(length) + 1));
          if (other >= offset + length || other + length <= offset)
            std::swap_ranges(bytes.begin() + offset, bytes.begin() + offset + length, bytes.begin() + other);
        }
      }
      if (below(2) && bytes.size() > 12) rehash(bytes);
    }
    const LedgerAudit audit = audit_ledger(bytes, row->ledger_sha256);
    rejected += audit.verdict == Verdict::fail;
    whole_chains += audit_ledger(bytes, "").verdict == Verdict::pass;
  }
  EXPECT_EQ(rejected, mutations);
  // Some forgeries are so good that only the published hash tells: the test has teeth.
  EXPECT_GT(whole_chains, 0);
}

TEST(LedgerAudit, MutationsAreRejected) { mutate_and_audit(10000, 7); }

// The size of the field's validation set with a vocabulary of 16,384: the file and the time of its audit are bounded.
TEST_F(LedgerTest, LongThirtySevenMillionTargets) {
  constexpr std::int64_t kTargets = 37146624;
  LedgerDeclaration declaration;
  declaration.mode = "sliding";
  declaration.targets = kTargets;
  declaration.model_sha256 = std::string(64, 'a');
  std::mt19937 random(8);
  auto file = LedgerFile::create(
      path(), declaration, [&random](std::int64_t) { return static_cast<std::uint32_t>(random() % 17); },
      Overwrite::no);
  ASSERT_TRUE(file);
  std::vector<std::uint32_t> units(64);
  for (std::int64_t first = 1; first <= kTargets; first += 64) {
    for (std::uint32_t& one : units) one = static_cast<std::uint32_t>(random() >> 6);
    ASSERT_TRUE(file->add_scores(first, units));
  }
  const auto head = file->seal();
  ASSERT_TRUE(head);
  const auto mapped = MappedFile::open(path());
  const std::clock_t start = std::clock();
  const LedgerAudit audit = audit_ledger(mapped->bytes(), hex(*head));
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::printf("37,146,624 targets: %llu bytes, audited in %.2f s\n", static_cast<unsigned long long>(audit.file_bytes),
              seconds);
  EXPECT_EQ(audit.verdict, Verdict::pass) << audit.first_violation;
  EXPECT_LT(audit.file_bytes, 250000000u);
  EXPECT_LT(seconds, 30);
}

}  // namespace
}  // namespace par5
