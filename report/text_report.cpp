#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "report/page.h"

namespace par5 {
namespace {

std::string pad(const std::string& text, std::size_t width, bool right = false) {
  const std::string space(text.size() < width ? width - text.size() : 0, ' ');
  return right ? space + text : text + space;
}
std::string count(double value) { return grouped(static_cast<std::int64_t>(std::llround(value))); }

void append_evaluation(const RunData& run, std::string& text) {
  for (const EvalRow& row : run.evaluation) {
    text += "  " + pad(row.mode, 20) + fixed(row.bpb, 8) + " bpb";
    const double difference = row.difference.value_or(row.bpb - run.evaluation.front().bpb);
    if (&row != &run.evaluation.front()) text += "  " + std::string(difference > 0 ? "+" : "") + fixed(difference, 8);
    if (!row.against.empty()) text += " against " + row.against;
    if (row.low && row.high) text += ", 95 % by document [" + fixed(*row.low, 6) + ", " + fixed(*row.high, 6) + "]";
    text += "\n";
  }
  for (const EvalRow& row : run.baselines)
    text += "  " + pad(row.mode, 20) + fixed(row.bpb, 8) + " bpb  (compressor)\n";
}

void append_training(const RunData& run, std::string& text) {
  for (const char* key : {"loss", "val_bpb", "lr", "zero_share", "predicted_bytes"}) {
    const auto found = run.curves.find(key);
    if (found == run.curves.end() || found->second.empty()) continue;
    const auto& [first, last] = std::pair{found->second.front(), found->second.back()};
    text += "  " + pad(key, 20) + shortest(first.y) + " at step " + count(first.x) + ", " + shortest(last.y) +
            " at step " + count(last.x) + "\n";
  }
  if (run.tokens) text += "  " + pad("tokens", 20) + count(*run.tokens) + "\n";
  if (run.train_seconds) text += "  " + pad("time", 20) + duration(*run.train_seconds) + "\n";
}

void append_artifact(const RunData& run, std::string& text) {
  const ArtifactReport& report = *run.artifact;
  text += "artifact, " + count(static_cast<double>(report.file_bytes)) + " bytes\n";
  for (const auto& [name, bytes] : {std::pair{"quantised weights", report.quantised_bytes},
                                    {"fp8 and fp16 tensors", report.float_bytes},
                                    {"scales", report.scale_bytes},
                                    {"tokenizer", report.tokenizer_bytes},
                                    {"metadata", report.metadata_bytes},
                                    {"checksums", report.checksum_bytes}})
    text += "  " + pad(count(static_cast<double>(bytes)), 12, true) + "  " + name + "\n";
  for (const TensorReport& tensor : report.tensors) {
    std::uint64_t bytes = 0;
    for (const StreamReport& stream : tensor.streams) bytes += stream.stored_bytes;
    text += "  " + pad(count(static_cast<double>(bytes)), 12, true) + "  " + tensor.name + " (" + tensor.grid + ")\n";
  }
  if (run.levels.empty()) return;
  std::vector<std::uint64_t> counts(run.levels.front().counts.size());
  std::uint64_t total = 0;
  for (const LevelHistogram& levels : run.levels)
    for (std::size_t i = 0; i < counts.size() && i < levels.counts.size(); ++i) {
      counts[i] += levels.counts[i];
      total += levels.counts[i];
    }
  text += "levels of all quantised weights\n";
  for (std::size_t i = 0; i < counts.size() && total; ++i)
    text +=
        "  " +
        pad(std::to_string(run.levels.front().lowest_code + static_cast<int>(i) * run.levels.front().step), 5, true) +
        "  " + pad(fixed(100 * static_cast<double>(counts[i]) / static_cast<double>(total), 2) + " %", 9, true) + "\n";
}

}  // namespace

std::string report_text(const std::vector<RunData>& runs) {
  std::string text;
  for (const RunData& run : runs) {
    if (!text.empty()) text += "\n";
    text += run.path + "\n";
    if (!run.evaluation.empty()) text += "evaluation\n";
    append_evaluation(run, text);
    for (const LedgerStrip& ledger : run.ledgers)
      text += "ledger " + ledger.name + ": " + ledger.verdict + " (" + ledger.declaration.mode + ", " +
              count(static_cast<double>(ledger.found.targets)) + " targets, " +
              count(static_cast<double>(ledger.found.updates)) + " updates, " +
              (ledger.found.bytes > 0 ? fixed(ledger.found.bpb(), 8) + " bpb" : "no bytes") + ")" +
              (ledger.first_violation.empty() ? "" : "; " + ledger.first_violation) + "\n";
    if (!run.curves.empty()) text += "training\n";
    append_training(run, text);
    if (run.artifact) append_artifact(run, text);
    if (!run.audit.empty()) text += "audit: " + run.audit_verdict + "\n";
    for (const AuditRow& row : run.audit) text += "  " + pad(row.verdict, 9) + row.id + ": " + row.evidence + "\n";
    for (const std::string& line : run.missing) text += line + "\n";
  }
  return text;
}

}  // namespace par5
