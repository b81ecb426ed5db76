#include <chrono>

#include "archive/artifact.h"
#include "cli/commands.h"
#include "core/text.h"
#include "eval/self_test.h"

namespace par5 {
namespace {

Result<Outcome> run(const std::string& path, const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  P5_TRY(const DecodedArtifact decoded, read_artifact(path, common.threads));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const ArtifactReport& report = decoded.report;
  std::size_t streams = report.other_streams.size();
  for (const TensorReport& tensor : report.tensors) streams += tensor.streams.size();
  auto results = run_self_test(decoded.artifact, common.threads);
  if (!results) return tl::unexpected(results.error().in_file(path));
  P5_TRY(const auto version, arithmetic_version(decoded.artifact.extras));
  const std::size_t windows = version ? decoded.artifact.self_test.size() : 0;

  Outcome outcome;
  bool ok = true;
  std::uint64_t logits = 0;
  std::vector<std::string> names, arithmetics;
  std::string failures;
  auto kernels = nlohmann::ordered_json::array();
  for (const SelfTestResult& result : *results) {
    ok = ok && result.ok();
    logits += result.logits;
    const std::string arithmetic(arithmetic_name(result.arithmetic));
    if (result.arithmetic == Arithmetic::fp32) names.push_back(result.kernel);
    if (arithmetics.empty() || arithmetics.back() != arithmetic) arithmetics.push_back(arithmetic);
    kernels.push_back({{"name", result.kernel},
                       {"arithmetic", arithmetic},
                       {"ok", result.ok()},
                       {"differing_logits", result.differing_logits},
                       {"wrong_windows", result.wrong_windows}});
    if (!result.ok())
      failures += "FAILED: " + result.kernel + ", " + arithmetic + ": " +
                  grouped(static_cast<std::int64_t>(result.differing_logits)) + " logits differ from scalar's, " +
                  std::to_string(result.wrong_windows) + " windows have other bits than the artifact says\n";
  }
  outcome.status = ok ? 0 : exit_status(ErrorCode::check_failed);
  outcome.report["ok"] = ok;
  outcome.report["tensors"] = report.tensors.size();
  outcome.report["streams"] = streams;
  outcome.report["windows"] = windows;  // stored ones, whose expected bits were compared
  outcome.report["kernels"] = kernels;
  outcome.report["logits"] = logits;
  outcome.report["file_bytes"] = report.file_bytes;
  outcome.report["decode_seconds"] = seconds;
  outcome.text = path + ": " + (ok ? "ok, " : "") + grouped(static_cast<std::int64_t>(report.file_bytes)) + " bytes, " +
                 std::to_string(report.tensors.size()) + " tensors in " + std::to_string(streams) +
                 " streams decoded, every checksum holds (" + duration(seconds) + ")\n";
  outcome.text += windows > 0 ? std::to_string(windows) + " self-test windows" +
                                    (ok ? " have the bits that the artifact says, and" : ":") + " "
                              : "no self-test in the artifact that names its arithmetic; ";
  if (ok)
    outcome.text +=
        "the kernels " + join(names, ", ") + " agree bit for bit in each of " + join(arithmetics, ", ") + "\n";
  outcome.text += failures;
  return outcome;
}

}  // namespace

Command verify_command() {
  return {"verify", "Decode an artifact, check its checksums, and run its self-test under every kernel",
          "  par5 verify model.par5", [](CLI::App& app) -> Runner {
            auto path = std::make_shared<std::string>();
            app.add_option("artifact", *path, "Artifact (.par5)")->required();
            return [path](const CommonOptions& common) { return run(*path, common); };
          }};
}

}  // namespace par5
