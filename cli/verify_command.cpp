#include <chrono>

#include "archive/artifact.h"
#include "cli/artifact_text.h"
#include "cli/commands.h"
#include "core/text.h"

namespace par5 {
namespace {

Result<Outcome> run(const std::string& path, const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  P5_TRY(const DecodedArtifact decoded, read_artifact(path, common.threads));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const ArtifactReport& report = decoded.report;
  std::size_t streams = report.other_streams.size();
  for (const TensorReport& tensor : report.tensors) streams += tensor.streams.size();

  Outcome outcome;
  outcome.report["ok"] = true;
  outcome.report["tensors"] = report.tensors.size();
  outcome.report["streams"] = streams;
  outcome.report["windows"] = 0;  // self-test windows that were run: none without the exact engine
  outcome.report["kernels"] = nlohmann::ordered_json::array();
  outcome.report["file_bytes"] = report.file_bytes;
  outcome.report["decode_seconds"] = seconds;
  outcome.text = path + ": ok, " + grouped(static_cast<std::int64_t>(report.file_bytes)) + " bytes, " +
                 std::to_string(report.tensors.size()) + " tensors in " + std::to_string(streams) +
                 " streams decoded, every checksum holds (" + duration(seconds) + ")\n";
  return outcome;
}

}  // namespace

Command verify_command() {
  return {"verify", "Decode an artifact and check its checksums", "  par5 verify model.par5",
          [](CLI::App& app) -> Runner {
            auto path = std::make_shared<std::string>();
            app.add_option("artifact", *path, "Artifact (.par5)")->required();
            return [path](const CommonOptions& common) { return run(*path, common); };
          }};
}

}  // namespace par5
