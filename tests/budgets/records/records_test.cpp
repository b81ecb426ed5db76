#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "budgets/records/record_folder.h"
#include "budgets/records/registry.h"
#include "budgets/records/tolerant_json.h"
#include "core/file.h"

namespace par5 {
namespace {

using testing::HasSubstr;

std::string utf16(std::string_view ascii) {
  std::string out = "\xff\xfe";
  for (const char c : ascii) (out += c) += '\0';
  return out;
}

TEST(PrintedNumber, KeepsItsDigits) {
  const auto check = [](const char* text, double value, int digits) {
    const auto number = printed_number(text);
    ASSERT_TRUE(number) << text;
    EXPECT_DOUBLE_EQ(number->value, value) << text;
    EXPECT_EQ(number->digits, digits) << text;
  };
  check("1.1384", 1.1384, 4);
  check("15,724,839 bytes", 15724839, 0);
  check("15_724_839", 15724839, 0);
  check("~1.12", 1.12, 2);
  check("<0.001", 0.001, 3);
  check("-0.50e-3", -0.0005, 5);
  check("1.", 1, 0);
  check("42, 1337", 42, 0);
  check(".5", 0.5, 1);
  for (const char* text : {"", "abc", "-", ".", "e5"}) EXPECT_FALSE(printed_number(text)) << text;
}

TEST(TolerantJson, RepairsWhatPeopleWrite) {
  for (const std::string& text :
       {std::string("{\"a\": [1, 2]}"), std::string("\xef\xbb\xbf{\"a\": [1, 2]}"), utf16("{\"a\": [1, 2]}")}) {
    const auto read = read_tolerant_json(text, "x.json");
    ASSERT_TRUE(read) << to_string(read.error());
    EXPECT_TRUE(read->strict);
    EXPECT_EQ(read->value["a"][1], 2);
  }
  const auto repaired = read_tolerant_json(
      "{\n  // comment\n  \"a\": [1, 2,], # another\n  \"b\": True, \"c\": NaN, \"url\": \"http://x, }\",\n}",
      "x.json");
  ASSERT_TRUE(repaired) << to_string(repaired.error());
  EXPECT_FALSE(repaired->strict);
  EXPECT_EQ(repaired->value["b"], true);
  EXPECT_TRUE(repaired->value["c"].is_null());
  EXPECT_EQ(repaired->value["url"], "http://x, }");
  for (const char* text : {"", "{", "{\"a\": }", "<<<<<<< HEAD\n{}", "{\"a\": 1}{"})
    EXPECT_FALSE(read_tolerant_json(text, "x.json")) << text;
  EXPECT_FALSE(read_tolerant_json(std::string(100'000, '['), "deep.json"));
}

SubmissionJson submission(const std::string& text) {
  auto read = read_submission_json(text, "submission.json");
  EXPECT_TRUE(read) << to_string(read.error());
  return read.value_or(SubmissionJson{});
}

TEST(SubmissionJson, ManySpellingsOfTheSameFacts) {
  struct Case {
    const char* text;
    double bpb, total;
    std::size_t seeds;
  };
  for (
      const Case& c : {
          Case{R"({"val_bpb": 1.1384, "bytes_total": 15724839})", 1.1384, 15724839, 0},
          Case{R"({"val_bpb": "1.1384", "bytes_total": "15,724,839"})", 1.1384, 15724839, 0},
          Case{
              R"({"mean_val_bpb": 1.1384, "artifact_bytes": 15724839, "seed_results": {"42": {"val_bpb": 1.1}, "7": {"val_bpb": 1.2}}})",
              1.1384, 15724839, 2},
          Case{R"({"val_bpb": 1.1384, "artifact_size_bytes": 15724839, "seeds": [42, 0], "seed_scores": [1.1, 1.2]})",
               1.1384, 15724839, 2},
          Case{R"({"results": {"val_bpb": 1.1384, "total_bytes": 15724839}, "seeds": [{"seed": 1, "val_bpb": 1.1}]})",
               1.1384, 15724839, 1},
          Case{R"({"baseline": {"val_bpb": 1.3}, "val-bpb": 1.1384, "Artifact Bytes": 15724839})", 1.1384, 15724839, 0},
          Case{R"({"val_bpb": 1.1384, "size": "15.724839 MB", "val_bpb_by_seed": {"seed42": 1.1, "seed43": 1.2}})",
               1.1384, 15724839, 2},
          Case{R"({"val_bpb": 1.1384, "compliance": {"artifact_bytes_max": 15724839}})", 1.1384, 15724839, 0},
      }) {
    const SubmissionJson read = submission(c.text);
    ASSERT_TRUE(read.bpb) << c.text;
    EXPECT_DOUBLE_EQ(read.bpb->value.value, c.bpb) << c.text;
    ASSERT_TRUE(read.total_bytes) << c.text;
    EXPECT_NEAR(read.total_bytes->value, c.total, 0.5) << c.text;
    EXPECT_EQ(read.seeds.size(), c.seeds) << c.text;
  }
}

TEST(SubmissionJson, FactsKnowTheirKeys) {
  const SubmissionJson read = submission(
      R"({"name": "N", "github_id": "g", "track": "10min", "seed_results": {"42": {"val_bpb": 1.13810, "artifact_bytes": 5,
      "train_time_ms": 599124, "eval_time_s": 213.6, "eval_tokens": 37146624, "eval_bytes": 151078879}}, "train_seconds": "599.1 s", "eval_seconds": "10 min"})");
  EXPECT_EQ(read.name->value, "N");
  EXPECT_EQ(read.track->value, "10min");
  EXPECT_FALSE(read.bpb);
  ASSERT_EQ(read.seeds.size(), 1u);
  EXPECT_EQ(read.seeds[0].seed, "42");
  EXPECT_EQ(read.seeds[0].bpb->place.key, "seed_results.42.val_bpb");
  EXPECT_DOUBLE_EQ(read.seeds[0].train_seconds->value, 599.124);
  EXPECT_DOUBLE_EQ(read.seeds[0].eval_seconds->value, 213.6);
  EXPECT_DOUBLE_EQ(read.seeds[0].bytes->value, 151078879);
  EXPECT_DOUBLE_EQ(read.train_seconds->value, 599.1);
  EXPECT_DOUBLE_EQ(read.eval_seconds->value, 600);
  EXPECT_EQ(to_string(read.train_seconds->place), "submission.json (train_seconds)");
  EXPECT_FALSE(read_submission_json("[1, 2]", "x"));
  EXPECT_FALSE(read_submission_json("7", "x"));
}

const std::string kLog =
    "seed:42 world_size:8\nlog0(f\"val_bpb:9.9\")\n# val_bpb:8.8\nmodel_dim:576 lr=0.035 iterations:10000\n"
    "step:1000/10000 loss:3.8235 t:76844ms\n"
    "step:7800/10000 val_loss:3.2656 val_bpb:1.1584 train_time:599124ms eval_tokens:37146624 eval_bytes:151078879\n"
    "stopping_early: wallclock_cap train_time:599124ms step:7800/10000\n"
    "Serialized model int8+zlib: 15815847 bytes (payload:17178912)\nCode size: 47642 bytes\nTotal submission size "
    "int8+zlib: 15863489 bytes\n"
    "budget:15714938/16000000 (15.71/16.00MB) FITS\n"
    "ttt chunk:1/1134 bpb:1.2 time:1.0s\n"
    "ttt_eval val_loss:3.2083 val_bpb:1.1381 time:213616ms eval_tokens:37146624 eval_bytes:151078879\n";

TEST(RunLog, ReadsScoresTimesAndSizes) {
  std::string crlf;
  for (const char c : kLog) crlf += c == '\n' ? "\r\n" : std::string(1, c);
  for (const std::string& text : {kLog, crlf, utf16(kLog)}) {
    EXPECT_TRUE(looks_like_run_log(text));
    const RunLog log = read_run_log(text, "log.txt");
    ASSERT_EQ(log.evaluations.size(), 3u);
    EXPECT_EQ(log.evaluations[0].label, "step:7800/10000");
    EXPECT_EQ(log.evaluations[0].step, 7800);
    EXPECT_EQ(log.evaluations[0].line, 6u);
    const LogEvaluation& final = *log.final_evaluation();
    EXPECT_EQ(final.label, "ttt_eval");
    EXPECT_DOUBLE_EQ(final.bpb->value, 1.1381);
    EXPECT_EQ(final.bpb->digits, 4);
    EXPECT_DOUBLE_EQ(final.loss->value, 3.2083);
    EXPECT_EQ(final.tokens, 37146624);
    EXPECT_EQ(final.bytes, 151078879);
    EXPECT_EQ(log.seed->value, "42");
    EXPECT_DOUBLE_EQ(log.train_seconds->value, 599.124);
    EXPECT_EQ(log.train_seconds->place.line, 7u);
    EXPECT_DOUBLE_EQ(log.eval_seconds->value, 213.616);
    EXPECT_DOUBLE_EQ(log.total_bytes->value, 15714938);
    EXPECT_EQ(log.all_totals.size(), 2u);
    EXPECT_DOUBLE_EQ(log.code_bytes->value, 47642);
    EXPECT_DOUBLE_EQ(log.model_bytes->value, 15815847);
    EXPECT_EQ(log.config.at("model_dim"), "576");
    EXPECT_EQ(log.config.at("lr"), "0.035");
  }
  EXPECT_EQ(read_run_log("val_bpb:1.0\n", "logs/train_seed1337.log").seed->value, "1337");
  EXPECT_FALSE(looks_like_run_log("torch==2.9\nnumpy\n"));
}

TEST(RunLog, OtherDialects) {
  const RunLog log = read_run_log(
      "[2026-04-05 10:00:00,123] INFO - 4988/20000 val_loss: 2.8177 val_bpb: 1.0908\nstopping_early: wallclock_cap "
      "train_time: 588138ms step: 4988/20000\n"
      "500/20000 train_loss: 3.3363 train_time: 9.9m tok/s: 7727074\nCode size (uncompressed): 151766 "
      "bytes\nquantized_ttt_phased val_loss:2.32449303 val_bpb:1.06220261 eval_time:479589ms\n"
      "total_eval_time:480.1s\n",
      "a.log");
  EXPECT_EQ(log.evaluations[0].step, 4988);
  EXPECT_EQ(log.evaluations[0].last_step, 20000);
  EXPECT_DOUBLE_EQ(log.train_seconds->value, 588.138) << "the stop line is the clock's word";
  EXPECT_DOUBLE_EQ(log.eval_seconds->value, 480.1);
  EXPECT_DOUBLE_EQ(log.code_bytes->value, 151766);
  EXPECT_EQ(log.final_evaluation()->bpb->digits, 8);
}

TEST(RunLog, NoiseNeverCrashes) {
  std::mt19937 generator(11);
  for (int i = 0; i < 2000; ++i) {
    std::string changed = kLog;
    if (i % 3 == 0) changed.resize(generator() % changed.size());
    for (auto edits = generator() % 8; edits > 0 && !changed.empty(); --edits)
      changed[generator() % changed.size()] = static_cast<char>(generator());
    (void)read_run_log(changed, "x.log");
    (void)read_submission_json(changed, "x.json");
  }
}

TEST(RecordFolder, SortsItsFiles) {
  const auto folder = TemporaryFolder::create();
  ASSERT_TRUE(folder);
  const auto put = [&](const std::string& name, const std::string& text) {
    ASSERT_TRUE(write_file(join_path(folder->path(), name), text, Overwrite::yes));
  };
  put("README.md", "hello");
  put("submission.json", "{\"val_bpb\": 1.1,}");
  put("train_gpt.py", "print(1)");
  put("helper.py", "x = 1");
  put("train_seed7.log", kLog);
  put("requirements.txt", "torch\n");
  put("notes.txt", "nothing");
  put("model.ptz", "xx");
  const auto read = read_record_folder(folder->path());
  ASSERT_TRUE(read) << to_string(read.error());
  EXPECT_EQ(read->entry_script, "train_gpt.py");
  EXPECT_EQ(read->find("train_gpt.py")->kind, "script");
  EXPECT_EQ(read->find("helper.py")->kind, "python");
  EXPECT_EQ(read->find("notes.txt")->kind, "other");
  EXPECT_EQ(read->find("model.ptz")->kind, "artifact");
  ASSERT_EQ(read->logs.size(), 1u);
  EXPECT_EQ(read->logs[0].seed->value, "7");
  ASSERT_TRUE(read->submission);
  EXPECT_FALSE(read->submission->strict);
  put("submission.json", "<<<<<<< HEAD");
  const auto broken = read_record_folder(folder->path());
  ASSERT_TRUE(broken);
  EXPECT_FALSE(broken->submission);
  EXPECT_THAT(broken->submission_error, HasSubstr("submission.json"));
  EXPECT_FALSE(read_record_folder("/nonexistent"));
}

TEST(Registry, IsConsistent) {
  const auto registry = load_registry();
  ASSERT_TRUE(registry) << to_string(registry.error());
  EXPECT_EQ(registry->documents, 50000);
  for (const KnownTokenizer& known : registry->tokenizers) {
    // Where bytes and tokens are known, bytes per token follow, to the digits that are printed.
    const auto bytes = known.scored_bytes ? known.scored_bytes : known.charged_bytes;
    const auto targets = known.scored_bytes ? known.scored : known.tokens;
    if (!bytes || !targets) continue;
    EXPECT_NEAR(static_cast<double>(*bytes) / static_cast<double>(*targets), known.bytes_per_token, 1e-4) << known.name;
    EXPECT_TRUE(registry->exact(*bytes)) << known.name;
  }
  EXPECT_EQ(registry->nearest(3.1571)->name, "SP8192 CaseOps");
  EXPECT_EQ(registry->nearest(4.07)->name, "SP16384");
  EXPECT_EQ(registry->fault(1.1672)->name, "leading space counted twice");
  EXPECT_EQ(registry->fault(1.0), nullptr);
  EXPECT_TRUE(registry->exact(176332748)->fault);
  EXPECT_EQ(151080891 + 25251857, 176332748);
  EXPECT_FALSE(parse_registry("[[tokenizer]]\nname = \"x\"\n", "bad.toml"));
  EXPECT_FALSE(parse_registry("x = ", "bad.toml"));
}

}  // namespace
}  // namespace par5
