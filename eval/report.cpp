#include "eval/report.h"

#include <algorithm>

#include "core/text.h"
#include "eval/paired.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kBpbDigits = 8;

std::string signed_digits(double difference, int digits) {
  return (difference < 0 ? "" : "+") + fixed(difference, digits);
}
std::string signed_bpb(double difference) { return signed_digits(difference, kBpbDigits); }

std::string interval(double low, double high) {
  return "[" + signed_digits(low, 6) + ", " + signed_digits(high, 6) + "]";
}

std::string pad_left(std::string text, std::size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

std::string pad_right(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

const ScoreRow* find_row(const std::vector<ScoreRow>& rows, const Mode& mode) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const ScoreRow& row) { return row.mode == mode; });
  return found == rows.end() ? nullptr : &*found;
}

// The row that a row is compared with; null for the first.
const ScoreRow* reference_row(const std::vector<ScoreRow>& rows, const ScoreRow& row) {
  if (&row == &rows[0]) return nullptr;
  const bool learns = mode_learns(row.mode) && !row.mode.no_learning;
  const ScoreRow* still = learns ? find_row(rows, {row.mode.kind, true}) : nullptr;
  return still ? still : &rows[0];
}

std::string approximation_line(const std::string& mode, const ApproximationError& error) {
  return mode + " is not exact: on a sample of " + grouped(error.targets) + " targets it differs by " +
         signed_bpb(error.bpb) + " bpb" + (error.low ? " " + interval(*error.low, *error.high) : "") +
         " from sliding at stride " + std::to_string(error.stride) + " (" + fixed(error.exact_bpb, kBpbDigits) + ")\n";
}

// For each kind that learns: which part of its difference to chunked is window and which is learning.
std::string attribution(const std::vector<ScoreRow>& rows) {
  const ScoreRow* chunked = find_row(rows, {ModeKind::chunked});
  std::string text;
  for (const ScoreRow& row : rows) {
    const ScoreRow* still = row.mode.no_learning ? nullptr : find_row(rows, {row.mode.kind, true});
    if (!chunked || !still) continue;
    text += "Of " + mode_name(row.mode) + "'s difference to chunked, " + signed_bpb(still->bpb() - chunked->bpb()) +
            " is the windows and " + signed_bpb(row.bpb() - still->bpb()) + " the learning.\n";
  }
  return text;
}

}  // namespace

Json row_json(const ScoreRow& row) {
  Json object = {{"mode", mode_name(row.mode)},
                 {"bpb", row.bpb()},
                 {"nats_per_token", row.nats_per_token()},
                 {"targets", row.targets},
                 {"bytes", row.bytes},
                 {"documents", row.documents},
                 {"dropped_targets", row.dropped_targets},
                 {"engine", row.engine},
                 {"ledger_sha256", row.ledger_sha256.empty() ? Json(nullptr) : Json(row.ledger_sha256)}};
  object["window"] = row.window;
  object["stride"] = row.stride;
  object["source_bytes"] = row.source_bytes ? Json(*row.source_bytes) : Json(nullptr);
  object["bpb_source"] = row.bpb_source() ? Json(*row.bpb_source()) : Json(nullptr);
  object["mode_seconds"] = row.seconds;
  object["approximate"] = mode_approximates(row.mode);
  if (row.approximation) {
    const ApproximationError& error = *row.approximation;
    object["approximates"] = {{"mode", "sliding"}, {"stride", error.stride}};
    object["sample_targets"] = error.targets;
    object["sample_difference"] = error.bpb;
    object["sample_difference_low"] = error.low ? Json(*error.low) : Json(nullptr);
    object["sample_difference_high"] = error.high ? Json(*error.high) : Json(nullptr);
    object["sample_bpb_exact"] = error.exact_bpb;
  }
  if (row.learning_rate) {
    object["learning_rate"] = *row.learning_rate;
    object["updates"] = row.updates;
    object["adapted_values"] = row.adapted_values;
  }
  return object;
}

Json eval_json(const std::vector<ScoreRow>& rows, const EvalData& data) {
  if (rows.size() == 1) return row_json(rows[0]);
  Json object;
  for (const ScoreRow& row : rows) {
    Json entry = row_json(row);
    const ScoreRow* reference = reference_row(rows, row);
    entry["difference"] = reference ? row.bpb() - reference->bpb() : 0.0;
    entry["against"] = reference ? Json(mode_name(reference->mode)) : Json(nullptr);
    const auto paired = reference ? paired_difference(row.target_units, reference->target_units, data) : std::nullopt;
    entry["difference_low"] = paired ? Json(paired->low) : Json(nullptr);
    entry["difference_high"] = paired ? Json(paired->high) : Json(nullptr);
    object["rows"].push_back(entry);
  }
  return object;
}

std::string eval_text(const std::vector<ScoreRow>& rows, const EvalData& data) {
  const ScoreRow& first = rows[0];
  std::string text = grouped(first.targets) + " targets, " + grouped(first.bytes) + " charged bytes, " +
                     grouped(first.documents) + (first.documents == 1 ? " document" : " documents") + ", " +
                     (first.dropped_targets == 0 ? "no" : grouped(first.dropped_targets)) + " targets dropped";
  if (data.targets() < data.available_targets)
    text += " (the first " + grouped(data.targets()) + " of " + grouped(data.available_targets) + " targets)";
  text += "; engine " + first.engine + "\n";
  if (first.dropped_targets > 0)
    text += "--compat drops the tail behind the last full window, as the leaderboard does: " +
            grouped(first.dropped_targets) + " targets of " +
            grouped(charged_bytes(data, data.targets()) - first.bytes) +
            " bytes. BOS stays a target of 0 bytes, in the context of the document that it ends; only the first is "
            "given. Scores "
            "with and without the tail are not of the same text.\n";

  const bool several = rows.size() > 1;
  const auto line = [several](const std::string& mode, const std::string& window, const std::string& stride,
                              const std::string& bpb, const std::string& nats, const std::string& source,
                              const std::string& seconds, const std::string& difference, const std::string& interval,
                              const std::string& against) {
    return pad_right(mode, 18) + pad_left(window, 7) + pad_left(stride, 8) + pad_left(bpb, 13) + pad_left(nats, 13) +
           pad_left(source, 14) + pad_left(seconds, 10) +
           (several ? pad_left(difference, 14) + pad_left(interval, 24) + (against.empty() ? "" : "  " + against)
                    : "") +
           "\n";
  };
  text += line("mode", "window", "stride", "bpb", "nats/token", "bpb of source", "seconds", "difference",
               "95 % by document", "against");
  for (const ScoreRow& row : rows) {
    const ScoreRow* reference = reference_row(rows, row);
    const auto paired = reference ? paired_difference(row.target_units, reference->target_units, data) : std::nullopt;
    text +=
        line(mode_name(row.mode), std::to_string(row.window), std::to_string(row.stride), fixed(row.bpb(), kBpbDigits),
             fixed(row.nats_per_token(), kBpbDigits), row.bpb_source() ? fixed(*row.bpb_source(), kBpbDigits) : "-",
             fixed(row.seconds, 1), reference ? signed_bpb(row.bpb() - reference->bpb()) : "",
             paired ? interval(paired->low, paired->high) : "", reference ? mode_name(reference->mode) : "");
  }
  for (const ScoreRow& row : rows)
    if (row.approximation) text += approximation_line(mode_name(row.mode), *row.approximation);
  for (const ScoreRow& row : rows)
    if (!row.ledger_sha256.empty())
      text += "ledger of " + mode_name(row.mode) + ": head hash " + row.ledger_sha256 + "\n";
  return text + attribution(rows);
}

}  // namespace par5
