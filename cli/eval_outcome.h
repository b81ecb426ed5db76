// What `par5 eval` hands back about its rows, by whichever engine they were scored: the report, the table, and the
// breakdown that is asked for.
#pragma once

#include "cli/command.h"
#include "cli/eval_options.h"
#include "core/file.h"
#include "core/log.h"
#include "eval/breakdown.h"
#include "eval/model_file.h"
#include "eval/report.h"
#include "eval/temperature.h"

namespace par5 {

// What --by and --csv ask for; nothing where they are not there. To be called before anything is scored.
inline Result<std::optional<BreakdownKind>> asked_breakdown(const EvalOptions& options, const CommonOptions& common) {
  if (options.by.empty() && !options.csv.empty())
    return usage_error("--csv FILE is for a breakdown; say of what with --by document, position or token", "--csv");
  if (options.by.empty()) return std::nullopt;
  P5_TRY(const BreakdownKind kind, breakdown_kind(options.by));
  if (!options.csv.empty()) P5_OK(check_output(options.csv, common.overwrite()));
  return kind;
}

inline Result<Outcome> eval_outcome(const std::vector<ScoreRow>& rows, const EvalData& data, const EvalModel& model,
                                    const std::optional<BreakdownKind>& kind, const EvalOptions& options,
                                    const CommonOptions& common) {
  Outcome outcome;
  outcome.report = eval_json(rows, data);
  outcome.text = eval_text(rows, data);
  outcome.report["temperature"] = model.temperature;
  const bool seen = is_fitted_on(model.extras, data);
  outcome.report["temperature_fitted_on_this_data"] = seen;
  if (seen)
    log_warning(
        "the model's temperature was fitted on the beginning of this very data: what comes out is no score of "
        "held-out text");
  if (!kind) return outcome;
  for (std::size_t r = 0; r < rows.size() && common.json; ++r) {
    auto& entry = rows.size() > 1 ? outcome.report["rows"][r] : outcome.report;
    P5_TRY(entry["breakdown"], breakdown_json(rows[r], data, *kind));
  }
  if (!options.csv.empty()) {
    P5_TRY(AtomicFile file, AtomicFile::create(options.csv, common.overwrite()));
    P5_OK(breakdown_csv(rows, data, *kind, [&](std::string_view text) { return file.write(text); }));
    P5_OK(file.commit());
  } else if (!common.json) {
    // The table is not what was asked for; the rows are.
    log_info(std::exchange(outcome.text, {}));
    P5_OK(breakdown_csv(rows, data, *kind, [&](std::string_view text) -> Status {
      outcome.text += text;
      return {};
    }));
  }
  return outcome;
}

}  // namespace par5
