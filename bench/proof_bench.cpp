// The decode proof and the compressor on the demo's validation text: figures engine.9 and engine.10. The model is
// $PAR5_DEMO_MODEL, else the newest runs/demo-*/model.par5; without either `make demo` is to be run first.
//
// par5-bench-proof [FOLDER] [--long]: --long also decodes the whole text with the scalar kernel.
#include <sys/wait.h>

#include <cstdlib>

#include "bench/figures.h"
#include "engine/engine.h"
#include "eval/baselines.h"
#include "eval/coding/file_coder.h"
#include "tests/support/nasty_inputs.h"
#include "tokenizer/text_source.h"

namespace par5 {
namespace {

const std::string kVal = PAR5_SOURCE_DIR "/data/demo/val.jsonl.xz";
constexpr double kProofSeconds = 180;

std::string demo_model() {
  if (const char* named = std::getenv("PAR5_DEMO_MODEL")) return named;
  const std::string runs = PAR5_SOURCE_DIR "/runs";
  std::string newest;
  if (const auto names = list_folder(runs))
    for (const std::string& name : *names) {
      const std::string path = runs + "/" + name + "/model.par5";
      if (name.starts_with("demo-") && file_exists(path)) newest = path;  // names sort by time
    }
  return newest;
}

// What a command prints as JSON, and its exit status.
struct Ran {
  nlohmann::json report;
  int status = 0;
  double seconds = 0;
};
Ran run(const std::string& arguments, const std::string& folder) {
  Ran ran;
  const std::string out = join_path(folder, "report.json");
  ran.seconds = bench::seconds_of([&] {
    const int status = std::system(("'" PAR5_PROGRAM "' " + arguments + " --json -q >'" + out + "'").c_str());
    ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  });
  if (const auto text = read_text_file(out)) ran.report = nlohmann::json::parse(*text, nullptr, false);
  return ran;
}

void proof(bench::Figures& figures, const std::string& model, const std::string& folder, bool with_scalar) {
  const std::string bitstream = join_path(folder, "val.p5b");
  const Ran proven = run("prove '" + model + "' --data '" + kVal + "' -o '" + bitstream + "' --force", folder);
  if (!proven.report.is_object() || !proven.report.contains("identical")) {
    std::fprintf(stderr, "bench: the proof failed with status %d\n", proven.status);
    std::exit(1);
  }
  const auto& report = proven.report;
  const bool holds = report["identical"] && report["payload_within_bound"];
  figures.add({"engine.9",
               "proof of the demo's val text, chunked: coded and decoded",
               holds ? proven.seconds : 1e9,
               "s",
               kProofSeconds,
               {},
               bench::Better::lower,
               report["threads"],
               1,
               proven.seconds,
               proven.seconds,
               std::string(holds ? "identical" : "NOT PROVEN") + ", " + report["kernel"].get<std::string>() + ", " +
                   grouped(report["targets"].get<std::int64_t>()) + " targets; encoded in " +
                   fixed(report["encode_seconds"], 1) + " s, decoded in " + fixed(report["decode_seconds"], 1) + " s"});
  const auto info = [&](const char* what, double value, const char* unit, const std::string& detail) {
    figures.add(
        {"engine.info", what, value, unit, {}, {}, bench::Better::lower, report["threads"], 1, value, value, detail});
  };
  info("claimed by eval --engine exact", report["bpb_claimed"], "bpb", "");
  info("payload", report["bpb_payload"], "bpb", fixed(report["payload_excess_bytes"], 1) + " bytes more than claimed");
  info("payload, header and checksums", report["bpb_stream"], "bpb",
       grouped(report["stream_bytes"].get<std::int64_t>()) + " bytes");

  std::vector<std::string> right, wrong;
  double slowest = 0;
  for (const std::string& kernel : kernel_names()) {
    if (kernel == "scalar" && !with_scalar) continue;
    const Ran decoded = run("prove '" + model + "' --decode '" + bitstream + "' --kernel " + kernel + " -o '" +
                                join_path(folder, "decoded") + "' --force",
                            folder);
    const bool same =
        decoded.report.is_object() && decoded.report.value("decoded_sha256", "") == report["source_sha256"];
    (same ? right : wrong).push_back(kernel + " " + fixed(decoded.seconds, 1) + " s");
    slowest = std::max(slowest, decoded.seconds);
  }
  figures.add({"engine.9b",
               "forced kernels that do not decode the same bitstream",
               static_cast<double>(wrong.size()),
               "kernels",
               0.0,
               {},
               bench::Better::lower,
               report["threads"],
               1,
               slowest,
               slowest,
               "decoded by " + join(right, ", ") + (wrong.empty() ? "" : "; NOT by " + join(wrong, ", "))});
}

std::string val_text() {
  TextSource source = TextSource::open({kVal}).value();
  std::string text;
  TextDocument document;
  while (source.next(document).value()) text += document.text + "\n";
  return text;
}

// The size of `input` compressed, if it comes back.
std::optional<std::uint64_t> round_trip(const CodingModel& model, const Tokenizer& tokenizer, const std::string& input,
                                        Arithmetic arithmetic, double* compress_seconds = nullptr,
                                        double* decompress_seconds = nullptr, FileCoderSummary* summary = nullptr) {
  const auto transfer = [](std::string_view from, std::size_t& position) {
    return [from, &position](std::span<std::byte> out) -> Result<std::size_t> {
      const std::size_t count = std::min(out.size(), from.size() - position);
      std::copy_n(as_bytes(from).begin() + static_cast<std::ptrdiff_t>(position), count, out.begin());
      position += count;
      return count;
    };
  };
  const auto to = [](std::string& bytes) {
    return [&bytes](std::span<const std::byte> part) -> Status {
      bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
      return {};
    };
  };
  FileCoderOptions options;
  options.arithmetic = arithmetic;
  std::string stored, back;
  std::size_t read = 0, read_back = 0;
  bool ok = true;
  const double first = bench::seconds_of([&] {
    const auto done = compress_file(model, tokenizer, options, transfer(input, read), to(stored), 0);
    ok = done.has_value();
    if (ok && summary) *summary = *done;
  });
  const double second = bench::seconds_of([&] {
    ok = ok &&
         decompress_file(model, tokenizer, options, "stored", transfer(stored, read_back), to(back), 0).has_value();
  });
  if (compress_seconds) *compress_seconds = first;
  if (decompress_seconds) *decompress_seconds = second;
  if (!ok || back != input) return std::nullopt;
  return stored.size();
}

void compressor(bench::Figures& figures, const std::string& path) {
  const CodingModel model = load_coding_model(path, 0).value();
  const Tokenizer tokenizer = Tokenizer::from_data(model.artifact.tokenizer.value()).value();
  std::vector<std::string> lost;
  const auto inputs = testing_support::nasty_inputs(1000000);
  for (const auto& [name, input] : inputs)
    if (!round_trip(model, tokenizer, input, Arithmetic::int8)) lost.push_back(name);
  figures.add({"engine.10",
               "nasty inputs that do not come back from the compressor",
               static_cast<double>(lost.size()),
               "inputs",
               0.0,
               {},
               bench::Better::lower,
               0,
               1,
               0,
               0,
               std::to_string(inputs.size()) + " inputs" + (lost.empty() ? "" : "; lost: " + join(lost, ", "))});
  const std::string text = val_text();
  for (const Arithmetic arithmetic : {Arithmetic::int8, Arithmetic::fp32}) {
    double compress_seconds = 0, decompress_seconds = 0;
    FileCoderSummary summary;
    const auto size = round_trip(model, tokenizer, text, arithmetic, &compress_seconds, &decompress_seconds, &summary);
    const double bpb = size ? 8.0 * static_cast<double>(*size) / static_cast<double>(text.size()) : 1e9;
    figures.add({"engine.info",
                 "compress: the demo's raw val text, " + std::string(arithmetic_name(arithmetic)),
                 bpb,
                 "bpb",
                 {},
                 {},
                 bench::Better::lower,
                 0,
                 1,
                 bpb,
                 bpb,
                 "changes of normalisation " + grouped(static_cast<std::int64_t>(summary.changes_bytes)) + " bytes; " +
                     fixed(compress_seconds, 1) + " s with its check, back in " + fixed(decompress_seconds, 1) + " s"});
  }
  const std::vector<Baseline> baselines = compressor_baselines(as_bytes(text), 0).value();
  for (const Baseline& baseline : baselines)
    figures.add({"engine.info",
                 baseline.name + ": the same text",
                 baseline.bpb,
                 "bpb",
                 {},
                 {},
                 bench::Better::lower,
                 1,
                 1,
                 baseline.bpb,
                 baseline.bpb,
                 ""});
}

}  // namespace
}  // namespace par5

int main(int argc, char** argv) {
  using namespace par5;
  std::string output;
  bool with_scalar = false;
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--long")
      with_scalar = true;
    else
      output = argv[i];
  const std::string model = demo_model();
  if (model.empty()) {
    std::fprintf(stderr, "bench: there is no demo model; run `make demo`, or name an artifact in PAR5_DEMO_MODEL\n");
    return exit_status(ErrorCode::missing_tool);
  }
  const TemporaryFolder folder = TemporaryFolder::create().value();
  bench::Figures figures("proof");
  proof(figures, model, folder.path(), with_scalar);
  compressor(figures, model);
  return figures.finish(output);
}
