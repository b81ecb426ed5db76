#include "budgets/audit.h"

#include "archive/artifact.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

std::string bytes_text(std::uint64_t bytes) { return grouped(static_cast<std::int64_t>(bytes)) + " bytes"; }

AuditCheck size_explained(const ArtifactReport& report, std::uint64_t file_bytes) {
  std::uint64_t sum = 0;
  for (const ArtifactSection& section : report.sections) sum += section.bytes;
  return {"size_is_explained", sum == file_bytes ? Verdict::pass : Verdict::fail,
          std::to_string(report.sections.size()) + " sections sum to " + bytes_text(sum) + " of " + bytes_text(file_bytes)};
}

}  // namespace

Result<AuditReport> audit(const AuditInput& input, const RuleSet& rules, std::size_t threads) {
  AuditReport report;
  P5_TRY(const auto bytes, read_file(input.artifact, std::uint64_t{1} << 32));
  const std::uint64_t file_bytes = bytes.size();
  const bool count_tokenizer = input.count_tokenizer.value_or(rules.count_tokenizer);

  std::uint64_t tokenizer_inside = 0;
  const auto decoded = decode_artifact(bytes, input.artifact, threads);
  if (decoded) {
    report.checks.push_back({"artifact_decodes", Verdict::pass,
                             input.artifact + ": " + std::to_string(decoded->report.tensors.size()) + " tensors, all checksums hold"});
    report.checks.push_back(size_explained(decoded->report, file_bytes));
    tokenizer_inside = decoded->report.tokenizer_bytes;
  } else {
    report.checks.push_back({"artifact_decodes", Verdict::fail, to_string(decoded.error())});
  }
  // What lies outside the tokenizer's stream always counts: also a file that does not decode.
  report.parts.push_back({tokenizer_inside ? "artifact without tokenizer" : "artifact", file_bytes - tokenizer_inside, true});
  if (tokenizer_inside) report.parts.push_back({"tokenizer in the artifact", tokenizer_inside, count_tokenizer});
  if (!input.tokenizer.empty()) {
    P5_TRY(const std::uint64_t size, file_size(input.tokenizer));
    report.parts.push_back({"tokenizer " + input.tokenizer, size, count_tokenizer});
  }
  for (const std::string& file : input.code) {
    P5_TRY(const std::uint64_t size, file_size(file));
    report.parts.push_back({"code " + file, size, rules.count_code});
  }
  for (const CountedPart& part : report.parts)
    if (part.counted) report.total_bytes += part.bytes;

  if (count_tokenizer) {
    const bool present = tokenizer_inside || !input.tokenizer.empty();
    report.checks.push_back({"tokenizer_counted", present ? Verdict::pass : Verdict::unknown,
                             present ? "the tokenizer's bytes are in the total"
                                     : "the tokenizer counts, is not in the artifact and was not named (--tokenizer FILE)"});
  }
  if (rules.count_code) {
    const bool present = !input.code.empty();
    report.checks.push_back({"code_counted", present ? Verdict::pass : Verdict::unknown,
                             present ? std::to_string(input.code.size()) + " code files are in the total"
                                     : "code counts and none was named (--code FILE…)"});
  }
  const bool fits = report.total_bytes <= rules.cap_bytes;
  report.checks.push_back({"size_cap", fits ? Verdict::pass : Verdict::fail,
                           bytes_text(report.total_bytes) + (fits ? " of " : ", over the cap of ") + bytes_text(rules.cap_bytes)});
  report.verdict = overall(report.checks);
  return report;
}

}  // namespace par5
