#include "cli/commands.h"
#include "core/text.h"
#include "eval/baselines.h"
#include "tokenizer/text_source.h"

namespace par5 {
namespace {

Result<Outcome> run(const std::vector<std::string>& paths, const CommonOptions& common) {
  P5_TRY(auto source, TextSource::open(paths));
  std::string text;
  std::uint64_t documents = 0;
  for (TextDocument document;; ++documents) {
    P5_TRY(const bool more, source.next(document));
    if (!more) break;
    text += document.text;
  }
  P5_TRY(const auto baselines, compressor_baselines(as_bytes(text), common.threads));

  Outcome outcome;
  outcome.report["documents"] = documents;
  outcome.report["bytes"] = text.size();
  outcome.text = grouped(static_cast<std::int64_t>(text.size())) + " bytes of text in " +
                 grouped(static_cast<std::int64_t>(documents)) + " documents\n";
  for (const Baseline& baseline : baselines) {
    outcome.report["baselines"].push_back(
        {{"name", baseline.name}, {"compressed_bytes", baseline.compressed_bytes}, {"bpb", baseline.bpb}});
    outcome.text += baseline.name + std::string(16 - baseline.name.size(), ' ') + fixed(baseline.bpb, 6) + " bpb  " +
                    grouped(static_cast<std::int64_t>(baseline.compressed_bytes)) + " bytes\n";
  }
  return outcome;
}

}  // namespace

Command baseline_command() {
  return {"baseline", "What xz, zstd and brotli make of a text, in bits per byte",
          "  par5 baseline data/demo/val.jsonl.xz\n  par5 baseline --json book.txt", [](CLI::App& app) -> Runner {
            auto paths = std::make_shared<std::vector<std::string>>();
            app.add_option("text", *paths, "TEXT: .txt, .jsonl, each also .xz or .zst, folders, or -")->required();
            return [paths](const CommonOptions& common) { return run(*paths, common); };
          }};
}

}  // namespace par5
