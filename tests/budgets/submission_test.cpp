#include "budgets/submission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/file.h"

namespace par5 {
namespace {

using testing::Contains;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr const char* kRules =
    "title = \"a test\"\ncap_bytes = 10_000_000\ncount_code = true\ncount_tokenizer = true\n[files]\nrequired = "
    "[\"readme\", \"submission\", \"log\", \"artifact\", \"script\"]\n"
    "[significance]\nmargin_nats = 0.005\nruns = 2\n"
    "[rules]\nrequired = [\"artifact_decodes\", \"size_is_explained\", \"S1\", \"S2\", \"S3\", \"K1\", \"P2\", \"F1\", "
    "\"F2\"]\noptional = [\"C1\", \"C4\", \"V2\"]\nmanual = [\"S4\", \"P3\"]\n";

class Submission : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() / ("par5-submission-" + std::to_string(::getpid()));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
    put("rules.toml", kRules);
    request_.runs = {make_run("a", 42, 1.5), make_run("b", 7, 1.6)};
    request_.folder = path("out");
    request_.words = {"A test", "Somebody", "somebody", "2026-01-02", "Words.", ""};
    put("source/cli/eval_command.cpp", "#include \"core/error.h\"\nint main() {}\n");
    put("source/core/error.h", "// errors\n");
    put("source/core/error.cpp", "#include \"core/error.h\"\n");
    put("source/core/other.cpp", "#include \"core/other.h\"\n");
    request_.source = path("source");
    request_.version = "1.2.3";
    request_.threads = 1;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string path(const std::string& name) const { return (root_ / name).string(); }
  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((root_ / name).parent_path());
    ASSERT_TRUE(write_file(path(name), text, Overwrite::yes));
  }
  std::string get(const std::string& name) const { return read_text_file(path(name)).value_or(""); }

  std::string make_run(const std::string& name, int seed, double bpb) const {
    LoadedConfig config;
    EXPECT_TRUE(config.apply_assignment("train.seed=" + std::to_string(seed)));
    put(name + "/config.toml", config.to_toml(false));
    put(name + "/run.json",
        Json({{"schema", 1},
              {"seed", seed},
              {"data", {{"folder", "nowhere"}}},
              {"validation", {{"folder", "nowhere"}, {"tokens", 1001}, {"documents", 3}, {"bytes", 4000}}}})
            .dump());
    put(name + "/metrics.jsonl",
        "{\"step\":10,\"tokens\":1000,\"loss\":4.5,\"seconds\":1.25}\n{\"step\":20,\"tokens\":2000,\"loss\":3.5,"
        "\"seconds\":2.5}\n{\"step\":20,\"val_bpb\":1.7}\n");
    const auto row = [&](const char* mode, double score) {
      return Json({{"mode", mode},
                   {"bpb", score},
                   {"nats_per_token", score * 2.7},
                   {"targets", 1000},
                   {"bytes", 4000},
                   {"documents", 3},
                   {"dropped_targets", 0},
                   {"mode_seconds", 3.5}});
    };
    put(name + "/eval.json", Json({{"schema", 1},
                                   {"command", "eval"},
                                   {"seconds", 9.5},
                                   {"rows", {row("chunked", bpb + 0.1), row("sliding", bpb)}}})
                                 .dump());
    std::filesystem::copy_file(std::string(PAR5_SOURCE_DIR) + "/tests/archive/golden/unet-quinary.par5",
                               path(name + "/model.par5"));
    return path(name);
  }
  Result<SubmissionCheck> check() const { return check_submission(path("out"), "", "", 1); }

  std::filesystem::path root_;
  SubmissionRequest request_;
};

TEST_F(Submission, IsMadeOfMeasuredResultsAndFollowsFromThem) {
  const auto rules = load_rules(path("rules.toml"));
  ASSERT_TRUE(rules) << to_string(rules.error());
  const auto audit = write_submission(request_, *rules);
  ASSERT_TRUE(audit) << to_string(audit.error());
  EXPECT_EQ(audit->verdict, Verdict::pass);
  const Json claim = Json::parse(get("out/submission.json"));
  EXPECT_DOUBLE_EQ(claim["val_bpb"].get<double>(), 1.55);
  EXPECT_EQ(claim["mode"], "sliding");
  EXPECT_EQ(claim["bytes_total"], audit->sizes.total_bytes);
  EXPECT_DOUBLE_EQ(claim["seed_results"]["7"]["val_bpb"].get<double>(), 1.6);
  EXPECT_EQ(claim["seed_results"]["42"]["steps"], 20);
  const std::string readme = get("out/README.md");
  EXPECT_THAT(readme, HasSubstr("| S1 |"));
  EXPECT_THAT(readme, HasSubstr("(seed42/eval.json)"));
  EXPECT_THAT(readme, HasSubstr("1.55000000"));
  EXPECT_THAT(get("out/seed42/train.log"), HasSubstr("step:20/20 train_loss:3.500000 train_time:2500ms"));
  EXPECT_TRUE(file_exists(path("out/code/cli/eval_command.cpp")));
  EXPECT_TRUE(file_exists(path("out/code/core/error.cpp")));
  EXPECT_FALSE(file_exists(path("out/code/core/other.cpp"))) << "nothing that evaluation needs includes it";
  EXPECT_TRUE(file_exists(path("out/seed7/model.par5")));

  const auto checked = check();
  ASSERT_TRUE(checked) << to_string(checked.error());
  EXPECT_THAT(checked->differences, testing::IsEmpty()) << checked->differences.front();
  EXPECT_EQ(checked->audit.verdict, Verdict::pass);
  // The same again, to the byte.
  request_.folder = path("again");
  ASSERT_TRUE(write_submission(request_, *rules));
  for (const char* file : {"README.md", "submission.json", "audit.json", "seed7/train.log"})
    EXPECT_EQ(get(std::string("out/") + file), get(std::string("again/") + file)) << file;
  // An existing folder is kept unless told otherwise.
  EXPECT_FALSE(write_submission(request_, *rules));

  // A claim that does not follow.
  const std::string good = get("out/submission.json");
  std::string better = good;
  better.replace(better.find("\"val_bpb\": 1.5"), 14, "\"val_bpb\": 1.4");
  put("out/submission.json", better);
  EXPECT_THAT(check()->differences, Contains(HasSubstr("val_bpb is 1.4")));
  put("out/submission.json", good);
  // A report that was changed afterwards.
  std::string report = get("out/seed7/eval.json");
  report.replace(report.find("\"bpb\":1.6"), 9, "\"bpb\":1.2");
  put("out/seed7/eval.json", report);
  EXPECT_THAT(check()->differences, Contains(HasSubstr("seed_results.7.val_bpb is 1.6, the reports give 1.2")));
  EXPECT_THAT(check()->differences, Contains(HasSubstr("README.md")));
  // Code that was added afterwards.
  put("out/code/more.cpp", "int x;\n");
  EXPECT_THAT(check()->differences, Contains(HasSubstr("bytes_code")));
}

TEST_F(Submission, AFailingAuditIsRefused) {
  put("rules.toml", std::string(kRules).replace(std::string(kRules).find("10_000_000"), 10, "1000"));
  const auto rules = load_rules(path("rules.toml"));
  const auto refused = write_submission(request_, *rules);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::check_failed);
  EXPECT_THAT(refused.error().message, HasSubstr("S1"));
  EXPECT_FALSE(std::filesystem::exists(path("out")));
  EXPECT_FALSE(std::filesystem::exists(path("out.partial")));
  request_.allow_fail = true;
  const auto allowed = write_submission(request_, *rules);
  ASSERT_TRUE(allowed) << to_string(allowed.error());
  EXPECT_EQ(allowed->verdict, Verdict::fail);
  EXPECT_THAT(get("out/README.md"), HasSubstr("over the cap"));
}

TEST_F(Submission, OnlyMeasuredResults) {
  const auto rules = load_rules(path("rules.toml"));
  std::filesystem::remove(path("b/eval.json"));
  EXPECT_THAT(write_submission(request_, *rules).error().message, HasSubstr("eval report"));
  std::filesystem::remove(path("b/model.par5"));
  EXPECT_FALSE(write_submission(request_, *rules));
  request_.runs = {path("a"), path("a")};
  EXPECT_THAT(write_submission(request_, *rules).error().message, HasSubstr("seed 42"));
  request_.runs = {path("nothing")};
  EXPECT_FALSE(write_submission(request_, *rules));
  request_.runs = {path("a")};
  request_.words.mode = "document";
  EXPECT_THAT(write_submission(request_, *rules).error().message, HasSubstr("'document'"));
  EXPECT_FALSE(std::filesystem::exists(path("out")));
}

TEST_F(Submission, OtherPeoplesFoldersAreNotChecked) {
  put("out/submission.json", "{\"val_bpb\": 1.1}");
  EXPECT_FALSE(check());
  EXPECT_FALSE(check_submission(path("nowhere"), "", "", 1));
}

}  // namespace
}  // namespace par5
