// Every rule that files or reports can answer: a clean submission passes, and each planted violation is caught by its
// rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "budgets/audit.h"
#include "budgets/audit_json.h"
#include "core/file.h"
#include "tests/support/encoders.h"

namespace par5 {
namespace {

using testing::HasSubstr;
using Files = std::map<std::string, std::string>;

std::string log_of(const std::string& seed, const std::string& bpb, const std::string& loss) {
  return "seed:" + seed +
         " model_dim:576 matrix_lr:0.035\n"
         "step:1000/8000 train_loss:3.8235 train_time:76844ms\n"
         "stopping_early: wallclock_cap train_time:599124ms step:7800/8000\n"
         "Code size: 120 bytes\nTotal submission size: 15714938 bytes\n"
         "final_exact val_loss:" +
         loss + " val_bpb:" + bpb +
         " eval_time:213616ms eval_tokens:37146624 eval_bytes:151078879\n"
         "process_time:300.5s\n";
}

// What a careful author hands in. Losses and bpb belong together: bytes per token 4.0671.
Files clean() {
  return {
      {"README.md", "A submission to the 10 minute track. Needs brotli.\n"},
      {"submission.json",
       R"({"name": "Clean", "github_id": "someone", "track": "10min_16mb", "val_bpb": 1.13843, "bytes_total": 15714938,
        "seed_results": {"42": {"val_bpb": 1.13810}, "1337": {"val_bpb": 1.13940}, "7": {"val_bpb": 1.13780}}})"},
      {"train_gpt.py",
       "import os, torch\nimport numpy as np\nimport brotli\n\ndef main():\n    print('training')\n\nif __name__ == "
       "'__main__':\n    main()\n"},
      {"requirements.txt", "torch\nbrotli\n"},
      {"train_seed42.log", log_of("42", "1.13810", "3.20842")},
      {"train_seed1337.log", log_of("1337", "1.13940", "3.21208")},
      {"train_seed7.log", log_of("7", "1.13780", "3.20757")},
      {"evidence/receipt_eval.json",
       R"({"schema": 1, "command": "time", "arguments": ["par5", "eval"], "exit_status": 0, "wall_seconds": 402.25, "cpu_seconds": 900, "phases": [],
        "files_opened": [{"path": "/data/fineweb_val_000000.bin", "written": false}, {"path": "train_gpt.py", "written": false}], "network": {"state": "unused", "peers": []}})"},
      {"evidence/prove.json",
       R"({"schema": 1, "command": "prove", "identical": true, "stream_bytes": 21500000, "bpb_claimed": 1.13810, "bpb_stream": 1.13811})"},
      {"evidence/overlap.json", R"({"schema": 1, "command": "shard overlap", "shared_documents": 0})"},
      {"evidence/compare.json",
       R"({"schema": 1, "command": "compare", "n": 3, "mean": 1.13843, "std": 0.0008, "difference": -0.0036, "p_value": 0.001, "unit": "bpb",
        "margins": [{"unit": "nats/token", "margin": 0.005, "difference": -0.0102, "welch": {"p_one_sided": 0.002}, "holds": true}]})"},
  };
}

class AuditRules : public testing::Test {
 protected:
  AuditReport audit_files(const Files& files, const std::string& rules_name = "parameter-golf-10min-16mb") {
    auto folder = TemporaryFolder::create();
    EXPECT_TRUE(folder);
    for (const auto& [name, text] : files) {
      const std::string path = join_path(folder->path(), name);
      EXPECT_TRUE(make_folders(parent_folder(path)));
      EXPECT_TRUE(write_file(path, text, Overwrite::yes));
    }
    const auto rules = load_rules(rules_name);
    EXPECT_TRUE(rules) << to_string(rules.error());
    AuditRequest request;
    request.target = folder->path();
    const auto report = audit(request, *rules);
    EXPECT_TRUE(report) << to_string(report.error());
    for (const auto& [name, text] : files) {
      (void)remove_file(join_path(folder->path(), name));
      if (name.find('/') != std::string::npos) (void)::rmdir(join_path(folder->path(), parent_folder(name)).c_str());
    }
    return report.value_or(AuditReport{});
  }
};

std::string all_evidence(const AuditReport& report) {
  std::string text;
  for (const RuleCheck& check : report.checks)
    text += std::string(answer_name(check.answer)) + " " + check.id + ": " + check.evidence + "\n";
  return text;
}

TEST_F(AuditRules, ACleanSubmissionPasses) {
  const AuditReport report = audit_files(clean());
  EXPECT_EQ(report.verdict, Verdict::pass) << all_evidence(report);
  EXPECT_EQ(report.target_kind, "submission");
  for (const char* id : {"S1", "S2", "S3", "S5", "T1", "T2", "E1", "E3", "V1", "V2",
                         "C1", "C2", "C3", "C4", "K1", "P1", "P2", "F1", "F2", "F3"}) {
    const RuleCheck* check = report.find(id);
    ASSERT_TRUE(check) << id;
    EXPECT_EQ(check->answer, Answer::pass) << id << ": " << check->evidence;
    EXPECT_TRUE(check->required) << id;
    EXPECT_FALSE(check->evidence.empty()) << id;
  }
  EXPECT_EQ(report.find("S4")->answer, Answer::manual);
  EXPECT_EQ(report.find("P3")->answer, Answer::manual);
  EXPECT_EQ(report.find("F4")->answer, Answer::not_applicable);
  const auto json = audit_json(report, *load_rules("parameter-golf-10min-16mb"));
  EXPECT_EQ(json["verdict"], "pass");
  EXPECT_EQ(json["margin_bytes"].get<std::int64_t>(), 16000000 - json["total_bytes"].get<std::int64_t>());
}

struct Violation {
  const char* name;
  const char* rule;
  const char* evidence;  // that must be named
  std::function<void(Files&)> plant;
};

void replace(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

const std::vector<Violation>& violations() {
  static const std::vector<Violation> list = {
      {"OverTheCapBySeed", "S1", "seed 7",
       [](Files& files) { replace(files["train_seed7.log"], "15714938", "16000247"); }},
      {"OnlyTheWrappedCodeFits", "S1", "wrapped",
       [](Files& files) {
         for (const char* seed : {"42", "1337", "7"})
           replace(files[std::string("train_seed") + seed + ".log"], "15714938", "15960120");
         for (int i = 0; i < 4000; ++i) files["train_gpt.py"] += "# a comment of which a wrapper leaves little\n";
       }},
      {"StubThatExecutesAFile", "S2", "train_gpt_decode.py",
       [](Files& files) {
         files["train_gpt_decode.py"] = files["train_gpt.py"];
         files["train_gpt.py"] = "exec(open(__file__.replace(\"train_gpt.py\",\"train_gpt_decode.py\")).read())";
       }},
      {"HelperImportedInsideAWrapper", "S2", "ngram.py",
       [](Files& files) {
         files["ngram.py"] = "x = 1\n";
         files["train_gpt.py"] = "import zlib,base64\nexec(zlib.decompress(base64.b64decode('" +
                                 test::base64_text(test::zlib_bytes("import torch, brotli\nimport ngram\n")) + "')))\n";
       }},
      {"KernelSourceNamedInAString", "S2", "kernel.cpp",
       [](Files& files) {
         files["kernel.cpp"] = "int main() {}\n";
         files["train_gpt.py"] += "load('kernel.cpp')\n";
       }},
      {"EvaluationOpensTrainingShards", "S5", "fineweb_train_000001.bin",
       [](Files& files) {
         replace(files["evidence/receipt_eval.json"], "\"train_gpt.py\"", "\"/data/fineweb_train_000001.bin\"");
       }},
      {"EvaluationUsesTheNetwork", "S5", "network",
       [](Files& files) { replace(files["evidence/receipt_eval.json"], "unused", "used"); }},
      {"TrainingTakesTooLong", "T1", "602.048",
       [](Files& files) { replace(files["train_seed1337.log"], "599124ms", "602048ms"); }},
      {"CalibrationAfterTheClock", "T2", "12.7",
       [](Files& files) {
         replace(files["train_seed42.log"], "Code size",
                 "GPTQ:collecting Hessians from calibration data...\nGPTQ:collected 67 Hessians in 12.7s\nCode size");
       }},
      {"WholeProcessTakesTooLong", "E1", "733",
       [](Files& files) { replace(files["evidence/receipt_eval.json"], "402.25", "733"); }},
      {"AnOlderSplit", "E3", "older split",
       [](Files& files) {
         for (const char* seed : {"42", "1337", "7"})
           replace(files[std::string("train_seed") + seed + ".log"], "37146624", "63779840");
       }},
      {"PartOfTheText", "E3", "% of the set",
       [](Files& files) {
         for (const char* seed : {"42", "1337", "7"}) {
           replace(files[std::string("train_seed") + seed + ".log"], "37146624", "9662464");
           replace(files[std::string("train_seed") + seed + ".log"], "151078879", "39298000");
         }
       }},
      {"ValidationTextInTraining", "V1", "17 validation documents",
       [](Files& files) {
         replace(files["evidence/overlap.json"], "\"shared_documents\": 0", "\"shared_documents\": 17");
       }},
      {"LearntBeforeScored", "V2", "before it was scored",
       [](Files& files) {
         files["evidence/ledger.json"] =
             R"({"schema": 1, "command": "audit", "checks": [{"id": "order", "verdict": "fail", "evidence": "target 700 was used before it was scored"}]})";
       }},
      {"FutureChangesThePast", "C1", "position 9",
       [](Files& files) {
         files["evidence/probe.json"] =
             R"({"schema": 1, "command": "eval", "checks": [{"id": "future", "verdict": "fail", "evidence": "position 9 changed"}]})";
       }},
      {"ProofThatDoesNotDecode", "C1", "did not return the text",
       [](Files& files) { replace(files["evidence/prove.json"], "\"identical\": true", "\"identical\": false"); }},
      {"BitstreamLongerThanClaimed", "C2", "1.2",
       [](Files& files) { replace(files["evidence/prove.json"], "1.13811", "1.2"); }},
      {"NotNormalised", "C2", "277",
       [](Files& files) {
         files["evidence/probe.json"] =
             R"({"schema": 1, "command": "eval", "checks": [{"id": "normalised", "verdict": "fail", "evidence": "sum is 277"}]})";
       }},
      {"UpdateBeforeScore", "C3", "block 3",
       [](Files& files) {
         files["evidence/ledger.json"] =
             R"({"schema": 1, "command": "audit", "checks": [{"id": "order", "verdict": "fail", "evidence": "block 3"}]})";
       }},
      {"ATargetScoredTwice", "C4", "twice",
       [](Files& files) {
         files["evidence/ledger.json"] =
             R"({"schema": 1, "command": "audit", "checks": [{"id": "coverage", "verdict": "fail", "evidence": "target 5 scored twice"}]})";
       }},
      {"EvaluationsOfDifferentLength", "C4", "37,146,000",
       [](Files& files) {
         files.erase("evidence/prove.json");
         replace(files["train_seed42.log"], "final_exact",
                 "roundtrip val_loss:3.2 val_bpb:1.2 eval_tokens:37146000 eval_bytes:151078000\nfinal_exact");
       }},
      {"LeadingSpaceCountedTwice", "K1", "leading space",
       [](Files& files) {
         for (const char* seed : {"42", "1337", "7"})
           replace(files[std::string("train_seed") + seed + ".log"], "151078879", "176332748");
       }},
      {"DenominatorByBackSolving", "K1", "leading space",
       [](Files& files) {
         for (const char* seed : {"42", "1337", "7"}) {
           std::string& log = files[std::string("train_seed") + seed + ".log"];
           replace(log, " eval_tokens:37146624 eval_bytes:151078879", "");
           const std::size_t at = log.find("val_loss:3");
           log.replace(at, log.find(" eval_time") - at, "val_loss:3.20842 val_bpb:0.97500");
         }
       }},
      {"GainNotSignificant", "P1", "0.2",
       [](Files& files) { replace(files["evidence/compare.json"], "0.002", "0.2"); }},
      {"NoGain", "P1", "no gain", [](Files& files) { replace(files["evidence/compare.json"], "-0.0102", "0.0102"); }},
      {"ThirdSeedOfAnotherConfiguration", "P2", "matrix_lr",
       [](Files& files) { replace(files["train_seed7.log"], "matrix_lr:0.035", "matrix_lr:0.04"); }},
      {"TwoSeeds", "P2", "2 seeds", [](Files& files) { files.erase("train_seed7.log"); }},
      {"HeadlineIsNotTheMean", "P2", "not the mean",
       [](Files& files) { replace(files["submission.json"], "1.13843", "1.13780"); }},
      {"TwoSubmissions", "F1", "2 submissions",
       [](Files& files) { files["other/submission.json"] = files["submission.json"]; }},
      {"NoReadme", "F2", "readme", [](Files& files) { files.erase("README.md"); }},
      {"NoLogs", "F2", "log",
       [](Files& files) {
         for (const char* seed : {"42", "1337", "7"}) files.erase(std::string("train_seed") + seed + ".log");
       }},
      {"SubmissionDoesNotParse", "F2", "not JSON", [](Files& files) { files["submission.json"] = "<<<<<<< HEAD\n{}"; }},
      {"NoNumericScore", "F2", "no numeric val_bpb",
       [](Files& files) { replace(files["submission.json"], "\"val_bpb\": 1.13843", "\"val_bpb\": \"TBD\""); }},
      {"SlippedDecimal", "F2", "slipped decimal",
       [](Files& files) { replace(files["submission.json"], "1.13843", "0.113843"); }},
      {"MissingDependency", "F2", "lost.py",
       [](Files& files) { files["train_gpt.py"] += "exec(open('lost.py').read())\n"; }},
      {"PackageNotDeclared", "F3", "zstandard", [](Files& files) { files["train_gpt.py"] += "import zstandard\n"; }},
      {"ProgramNotDeclared", "F3", "lrzip",
       [](Files& files) { files["train_gpt.py"] += "import subprocess\nsubprocess.run(['lrzip', '-z', 'x'])\n"; }},
  };
  return list;
}

class PlantedViolation : public AuditRules, public testing::WithParamInterface<std::size_t> {};

TEST_P(PlantedViolation, IsCaught) {
  const Violation& violation = violations()[GetParam()];
  Files files = clean();
  violation.plant(files);
  const AuditReport report = audit_files(files);
  const RuleCheck* check = report.find(violation.rule);
  ASSERT_TRUE(check);
  EXPECT_EQ(check->answer, Answer::fail) << check->evidence;
  EXPECT_THAT(check->evidence, HasSubstr(violation.evidence));
  EXPECT_EQ(report.verdict, Verdict::fail);
}

INSTANTIATE_TEST_SUITE_P(Rules, PlantedViolation, testing::Range(std::size_t{0}, violations().size()),
                         [](const auto& parameter) { return std::string(violations()[parameter.param].name); });

TEST_F(AuditRules, WhatCannotBeSeenIsUnknown) {
  for (const auto& [removed, rule] : std::map<std::string, std::string>{{"evidence/receipt_eval.json", "S5"},
                                                                        {"evidence/prove.json", "C1"},
                                                                        {"evidence/overlap.json", "V1"},
                                                                        {"evidence/compare.json", "P1"}}) {
    Files files = clean();
    files.erase(removed);
    const AuditReport report = audit_files(files);
    EXPECT_EQ(report.find(rule)->answer, Answer::unknown) << rule;
    EXPECT_EQ(report.verdict, Verdict::unknown) << all_evidence(report);
  }
  // A timer inside the process says too little.
  Files files = clean();
  files.erase("evidence/receipt_eval.json");
  for (const char* seed : {"42", "1337", "7"})
    replace(files[std::string("train_seed") + seed + ".log"], "process_time:300.5s", "");
  EXPECT_EQ(audit_files(files).find("E1")->answer, Answer::unknown);
  // An exec that cannot be followed may bring anything.
  files = clean();
  files["train_gpt.py"] += "exec(input())\n";
  EXPECT_EQ(audit_files(files).find("S2")->answer, Answer::unknown);
}

TEST_F(AuditRules, TheUnlimitedTrackMustSaySo) {
  Files files = clean();
  EXPECT_EQ(audit_files(files, "parameter-golf-unlimited").find("F4")->answer, Answer::fail);
  replace(files["submission.json"], "10min_16mb", "non_record_16mb");
  const AuditReport report = audit_files(files, "parameter-golf-unlimited");
  EXPECT_EQ(report.find("F4")->answer, Answer::pass);
  EXPECT_EQ(report.find("T1")->answer, Answer::not_applicable);
  EXPECT_EQ(report.verdict, Verdict::pass) << all_evidence(report);
}

TEST_F(AuditRules, TheBestSeedAsHeadlineIsAWarning) {
  Files files = clean();
  replace(files["submission.json"], "1.13843", "1.13780");
  EXPECT_THAT(audit_files(files).find("P3")->evidence, HasSubstr("best seed"));
}

TEST_F(AuditRules, AHostileArtifactFails) {
  Files files = clean();
  files["model.ptz"] = test::zlib_bytes("nothing");
  EXPECT_EQ(audit_files(files).find("artifact_decodes")->answer, Answer::fail);
}

}  // namespace
}  // namespace par5
