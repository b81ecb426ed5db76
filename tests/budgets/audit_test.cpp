#include "budgets/audit.h"

#include <gtest/gtest.h>

#include "archive/artifact.h"
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

Verdict verdict_of(const AuditReport& report, const std::string& id) {
  for (const AuditCheck& check : report.checks)
    if (check.id == id) return check.verdict;
  ADD_FAILURE() << "no check " << id;
  return Verdict::unknown;
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
  RuleSet rules{"test", "test", bytes_, false, false};
  const auto fits = audit({artifact_, {}, {}, {}}, rules, 1);
  ASSERT_TRUE(fits) << to_string(fits.error());
  EXPECT_LE(fits->total_bytes, bytes_);
  EXPECT_EQ(fits->verdict, Verdict::pass);
  rules.cap_bytes = fits->total_bytes - 1;
  const auto over = audit({artifact_, {}, {}, {}}, rules, 1);
  ASSERT_TRUE(over);
  EXPECT_EQ(over->verdict, Verdict::fail);
  EXPECT_EQ(verdict_of(*over, "size_cap"), Verdict::fail);
  EXPECT_EQ(verdict_of(*over, "artifact_decodes"), Verdict::pass);
}

TEST_F(Audit, CodeCountsAsItIsShipped) {
  const RuleSet rules{"test", "test", bytes_ + 100, true, false};
  const auto unknown = audit({artifact_, {}, {}, {}}, rules, 1);
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->verdict, Verdict::unknown) << "code counts and nobody said which";
  const auto before = unknown->total_bytes;
  const auto with_code = audit({artifact_, {file("decoder.py", std::string(60, 'x'))}, {}, {}}, rules, 1);
  ASSERT_TRUE(with_code);
  EXPECT_EQ(with_code->total_bytes, before + 60);
  EXPECT_EQ(with_code->verdict, Verdict::pass);
  const auto too_much = audit({artifact_, {file("decoder.py", std::string(60, 'x')), file("more.py", std::string(bytes_ + 100, 'x'))}, {}, {}}, rules, 1);
  ASSERT_TRUE(too_much);
  EXPECT_EQ(too_much->verdict, Verdict::fail);
}

TEST_F(Audit, TheTokenizerIsASwitch) {
  RuleSet rules{"test", "test", bytes_ * 10, false, true};
  const std::string tokenizer = file("t.model", std::string(77, 'x'));
  const auto counted = audit({artifact_, {}, tokenizer, {}}, rules, 1);
  const auto not_counted = audit({artifact_, {}, tokenizer, false}, rules, 1);
  ASSERT_TRUE(counted && not_counted);
  EXPECT_GE(counted->total_bytes, not_counted->total_bytes + 77);
  EXPECT_EQ(counted->verdict, Verdict::pass);
}

TEST_F(Audit, ADamagedArtifactFailsAndIsStillCounted) {
  auto bytes = read_file(artifact_);
  ASSERT_TRUE(bytes);
  (*bytes)[bytes->size() / 2] ^= std::byte{1};
  const std::string damaged = join_path(folder_->path(), "damaged.par5");
  ASSERT_TRUE(write_file(damaged, *bytes, Overwrite::yes));
  const auto report = audit({damaged, {}, {}, {}}, {"test", "test", 1000000, false, false}, 1);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->verdict, Verdict::fail);
  EXPECT_EQ(verdict_of(*report, "artifact_decodes"), Verdict::fail);
  EXPECT_EQ(report->total_bytes, bytes->size());
}

TEST_F(Audit, MissingFilesAreErrors) {
  const RuleSet rules{"test", "test", 1000000, true, true};
  EXPECT_FALSE(audit({"/nonexistent.par5", {}, {}, {}}, rules, 1));
  EXPECT_FALSE(audit({artifact_, {"/nonexistent.py"}, {}, {}}, rules, 1));
  EXPECT_FALSE(audit({artifact_, {}, "/nonexistent.model", {}}, rules, 1));
}

TEST_F(Audit, RuleFilesAreChecked) {
  EXPECT_EQ(load_rules("parameter-golf-10min-16mb")->cap_bytes, 16000000u) << "decimal, not MiB";
  EXPECT_FALSE(load_rules("parameter-golf")) << "an unknown name is not guessed";
  for (const char* text : {"cap_bytes = 0\ncount_code = true\ncount_tokenizer = true\n", "cap_bytes = 5\n", "cap_bytes = 5\ncode = 1\n",
                           "cap_bytes = \"5\"\ncount_code = true\ncount_tokenizer = true\n", "cap_bytes 5\n"})
    EXPECT_FALSE(load_rules(file("rules.toml", text))) << text;
  EXPECT_TRUE(load_rules(file("rules.toml", "cap_bytes = 5\ncount_code = true\ncount_tokenizer = false\n")));
}

}  // namespace
}  // namespace par5
