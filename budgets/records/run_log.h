// Training and evaluation logs of the field, read line by line: what was scored, how long it took, how large it came
// out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "budgets/records/located.h"

namespace par5 {

// A line that gives val_bpb (and mostly val_loss).
struct LogEvaluation {
  std::string label;  // what stands before the numbers: "final_int8_zlib_roundtrip_exact", "step:7800/10000"
  std::optional<PrintedNumber> bpb, loss;
  std::optional<std::int64_t> step, last_step;           // of "step:7800/10000" and "7800/10000"
  std::optional<std::int64_t> tokens, bytes, documents;  // eval_tokens, eval_bytes, docs
  bool running = false;                                  // an average so far, not the evaluation's result
  std::optional<double> share;                           // of a running one: how much of the text it has seen, 0 … 1
  bool aside = false;                                    // an ablation, or a figure that the result is compared with
  std::optional<double> seconds;                         // eval_time or time
  std::size_t line = 0;
};

// Calibration of a quantiser after training (GPTQ's Hessians and the like).
struct LogCalibration {
  std::optional<double> seconds;
  bool generated = false;  // on text that the model made itself
  Place place;
};

struct RunLog {
  std::string file;
  std::size_t lines = 0;
  std::optional<Located<std::string>> seed;  // from the file's name, else from the text
  std::vector<LogEvaluation> evaluations;
  std::optional<Located<double>> train_seconds;    // of the stop line, else the last train_time
  std::optional<Located<double>> eval_seconds;     // total_eval_time where there is one, else the longest single timer
  std::optional<Located<double>> process_seconds;  // whole process, where a timer printed it
  std::optional<Located<double>> total_bytes, code_bytes, model_bytes;  // the last printed
  std::vector<Located<double>> all_totals;                     // every total that is printed, also of other codecs
  std::optional<Located<std::int64_t>> val_tokens, documents;  // of the validation text: the largest that is printed
  std::optional<LogCalibration> calibration;
  std::map<std::string, std::string> config;  // settings printed before the first step: name -> value

  // The last evaluation that is neither a running average nor an aside, which reports of the field take for the result;
  // where there is none, the last of all.
  const LogEvaluation* final_evaluation() const;
};

// Reads a log of any encoding. Lines of program text that a log echoes (print calls, comments) are left out. Nothing is
// an error: what is not understood is not there.
RunLog read_run_log(std::string_view bytes, const std::string& file);
// The same for a log that several runs have written to one after the other: a new seed, or steps that start again,
// begin a run. At least one.
std::vector<RunLog> read_run_logs(std::string_view bytes, const std::string& file);

// Does the text look like a log of a run (a score, a step or a train_time on some line)?
bool looks_like_run_log(std::string_view bytes);

}  // namespace par5
