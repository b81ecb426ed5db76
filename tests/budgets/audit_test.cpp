#include "budgets/audit.h"

#include <gtest/gtest.h>

#include "archive/artifact.h"
#include "budgets/own_code.h"
#include "core/file.h"

namespace par5 {
namespace {

const std::string kGolden = std::string(PAR5_SOURCE_DIR) + "/tests/archive/golden/";

std::string golden_artifact() {
  const auto names = list_folder(kGolden);
  for (const std::string& name : names.value_or(std::vector<std::string>{}))
    if (name.ends_with(".par5")) return kGolden + name;
  ADD_FAILURE() << "no golden artifact in " << kGolden;
  return {};
}

Answer answer_of(const AuditReport& report, const std::string& id) {
  const RuleCheck* check = report.find(id);
  EXPECT_TRUE(check) << "no check " << id;
  return check ? check->answer : Answer::unknown;
}

RuleSet size_rules(std::uint64_t cap, bool count_code, bool count_tokenizer) {
  RuleSet rules;
  rules.name = rules.title = "test";
  rules.cap_bytes = cap;
  rules.count_code = count_code;
  rules.count_tokenizer = count_tokenizer;
  rules.required = {"artifact_decodes", "size_is_explained", "S1", "S2", "S3"};
  return rules;
}

AuditRequest request_for(const std::string& target, std::vector<std::string> code = {},
                         const std::string& tokenizer = {}, std::optional<bool> count_tokenizer = {}) {
  AuditRequest request;
  request.target = target;
  request.code = std::move(code);
  request.tokenizer = tokenizer;
  request.count_tokenizer = count_tokenizer;
  request.threads = 1;
  return request;
}

class Audit : public testing::Test {
 protected:
  void SetUp() override {
    auto made = TemporaryFolder::create();
    ASSERT_TRUE(made);
    folder_ = std::make_unique<TemporaryFolder>(std::move(*made));
    artifact_ = golden_artifact();
    bytes_ = *file_size(artifact_);
  }
  std::string file(const std::string& name, const std::string& text) {
    const std::string path = join_path(folder_->path(), name);
    EXPECT_TRUE(write_file(path, text, Overwrite::yes));
    return path;
  }
  std::unique_ptr<TemporaryFolder> folder_;
  std::string artifact_;
  std::uint64_t bytes_ = 0;
};

TEST_F(Audit, TheCapIsABoundOnTheByte) {
  RuleSet rules = size_rules(bytes_, false, false);
  const auto fits = audit(request_for(artifact_), rules);
  ASSERT_TRUE(fits) << to_string(fits.error());
  EXPECT_EQ(fits->target_kind, "artifact");
  EXPECT_LE(fits->sizes.total_bytes, bytes_);
  EXPECT_EQ(fits->verdict, Verdict::pass);
  rules.cap_bytes = fits->sizes.total_bytes - 1;
  const auto over = audit(request_for(artifact_), rules);
  ASSERT_TRUE(over);
  EXPECT_EQ(over->verdict, Verdict::fail);
  EXPECT_EQ(answer_of(*over, "S1"), Answer::fail);
  EXPECT_EQ(answer_of(*over, "artifact_decodes"), Answer::pass);
}

TEST_F(Audit, TheLedgerSumsToTheFile) {
  const auto report = audit(request_for(artifact_), size_rules(bytes_, false, true));
  ASSERT_TRUE(report);
  std::uint64_t lines = 0;
  for (const LedgerLine& line : report->sizes.lines) lines += line.raw_bytes;
  EXPECT_EQ(lines, bytes_);
  EXPECT_FALSE(report->sizes.streams.empty());
  EXPECT_EQ(report->sizes.total_with_tokenizer - report->sizes.total_without_tokenizer, report->sizes.tokenizer_bytes);
}

TEST_F(Audit, CodeCountsAsItIsShipped) {
  const RuleSet rules = size_rules(bytes_ + 100, true, false);
  const auto unknown = audit(request_for(artifact_), rules);
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->verdict, Verdict::unknown) << "code counts and nobody said which";
  const auto before = unknown->sizes.total_bytes;
  const auto with_code = audit(request_for(artifact_, {file("decoder.py", "#" + std::string(59, 'x'))}), rules);
  ASSERT_TRUE(with_code);
  EXPECT_EQ(with_code->sizes.total_bytes, before + 60);
  EXPECT_EQ(with_code->verdict, Verdict::pass);
  ASSERT_EQ(with_code->sizes.ways.size(), 3u);
  const auto too_much = audit(request_for(artifact_, {file("decoder.py", std::string(60, 'x')),
                                                      file("more.py", std::string(bytes_ + 100, 'x'))}),
                              rules);
  ASSERT_TRUE(too_much);
  EXPECT_EQ(too_much->verdict, Verdict::fail);
}

TEST_F(Audit, OwnCodeIsTheClosureOfEvaluation) {
  const auto code = own_code(PAR5_SOURCE_DIR, kEvalEntry, PAR5_PROGRAM);
  ASSERT_TRUE(code) << to_string(code.error());
  const auto has = [&](const char* name) {
    return std::find(code->files.begin(), code->files.end(), name) != code->files.end();
  };
  for (const char* name : {"cli/eval_command.cpp", "archive/artifact.h", "archive/decoder.cpp", "pack/quantizer.cpp",
                           "core/error.cpp", "tokenizer/tokenizer.cpp"})
    EXPECT_TRUE(has(name)) << name;
  for (const char* name : {"train/trainer.cpp", "budgets/audit.cpp", "cli/audit_command.cpp"})
    EXPECT_FALSE(has(name)) << name;
  std::uint64_t sum = 0;
  for (const std::string& name : code->files) sum += *file_size(join_path(PAR5_SOURCE_DIR, name));
  EXPECT_EQ(code->raw_bytes, sum);
  EXPECT_LT(code->xz_bytes, sum / 3);
  ASSERT_TRUE(code->binary_bytes);
  EXPECT_LT(*code->binary_bytes, *file_size(PAR5_PROGRAM));
  EXPECT_GT(*code->binary_bytes, *file_size(PAR5_PROGRAM) / 2);
  // With a source tree, an artifact's own code counts without being named.
  AuditRequest request = request_for(artifact_);
  request.source = PAR5_SOURCE_DIR;
  RuleSet rules = size_rules(100'000'000, true, false);
  const auto raw = audit(request, rules);
  rules.own_code_verdict = "xz";
  const auto xz = audit(request, rules);
  ASSERT_TRUE(raw && xz);
  EXPECT_EQ(raw->verdict, Verdict::pass);
  EXPECT_EQ(raw->sizes.total_bytes - xz->sizes.total_bytes, code->raw_bytes - code->xz_bytes);
  EXPECT_FALSE(own_code("/nonexistent", kEvalEntry, ""));
  EXPECT_FALSE(loadable_bytes(artifact_));
}

TEST_F(Audit, TheTokenizerIsASwitch) {
  const RuleSet rules = size_rules(bytes_ * 10, false, true);
  const std::string tokenizer = file("t.model", std::string(77, 'x'));
  const auto counted = audit(request_for(artifact_, {}, tokenizer), rules);
  const auto not_counted = audit(request_for(artifact_, {}, tokenizer, false), rules);
  ASSERT_TRUE(counted && not_counted);
  EXPECT_GE(counted->sizes.total_bytes, not_counted->sizes.total_bytes + 77);
  EXPECT_EQ(counted->verdict, Verdict::pass);
  // Over the cap with the tokenizer only.
  RuleSet tight = size_rules(not_counted->sizes.total_bytes, false, true);
  const auto over = audit(request_for(artifact_, {}, tokenizer), tight);
  ASSERT_TRUE(over);
  EXPECT_EQ(answer_of(*over, "S3"), Answer::fail);
}

TEST_F(Audit, ADamagedArtifactFailsAndIsStillCounted) {
  auto bytes = read_file(artifact_);
  ASSERT_TRUE(bytes);
  (*bytes)[bytes->size() / 2] ^= std::byte{1};
  const std::string damaged = join_path(folder_->path(), "damaged.par5");
  ASSERT_TRUE(write_file(damaged, *bytes, Overwrite::yes));
  const auto report = audit(request_for(damaged), size_rules(1000000, false, false));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->verdict, Verdict::fail);
  EXPECT_EQ(answer_of(*report, "artifact_decodes"), Answer::fail);
  EXPECT_EQ(report->sizes.total_bytes, bytes->size());
}

TEST_F(Audit, MissingFilesAreErrors) {
  const RuleSet rules = size_rules(1000000, true, true);
  EXPECT_FALSE(audit(request_for("/nonexistent.par5"), rules));
  EXPECT_FALSE(audit(request_for(artifact_, {"/nonexistent.py"}), rules));
  EXPECT_FALSE(audit(request_for(artifact_, {}, "/nonexistent.model"), rules));
}

TEST_F(Audit, RuleFilesAreChecked) {
  EXPECT_EQ(load_rules("parameter-golf-10min-16mb")->cap_bytes, 16000000u) << "decimal, not MiB";
  for (const std::string& name : rule_names()) EXPECT_TRUE(load_rules(name)) << to_string(load_rules(name).error());
  EXPECT_FALSE(load_rules("parameter-golf")) << "an unknown name is not guessed";
  for (const char* text :
       {"cap_bytes = 0\ncount_code = true\ncount_tokenizer = true\n", "cap_bytes = 5\n", "cap_bytes = 5\ncode = 1\n",
        "cap_bytes = \"5\"\ncount_code = true\ncount_tokenizer = true\n", "cap_bytes 5\n",
        "cap_bytes = 5\ncount_code = true\ncount_tokenizer = true\n[rules]\nrequired = [\"S9\"]\n",
        "cap_bytes = 5\ncount_code = true\ncount_tokenizer = true\n[code]\nverdict = \"guess\"\n",
        "cap_bytes = 5\ncount_code = true\ncount_tokenizer = true\n[time]\ntrain_second = 5\n",
        "cap_bytes = 5\ncount_code = true\ncount_tokenizer = true\n[files]\nrequired = [\"poem\"]\n"})
    EXPECT_FALSE(load_rules(file("rules.toml", text))) << text;
  EXPECT_TRUE(load_rules(file("rules.toml", "cap_bytes = 5\ncount_code = true\ncount_tokenizer = false\n")));
}

}  // namespace
}  // namespace par5
