#include "cli/commands.h"
#include "cli/normalization_report.h"
#include "core/config.h"
#include "core/text.h"
#include "tokenizer/sharding.h"

namespace par5 {
namespace {

struct Options {
  std::vector<std::string> text;
  std::string tokenizer;
  std::string output;
  std::string standard_input = "txt";
  std::optional<std::uint64_t> shuffle_seed;
  std::uint64_t shard_tokens = static_cast<std::uint64_t>(DataConfig{}.shard_tokens);
};

Result<Outcome> shard(const Options& options, const CommonOptions& common) {
  P5_TRY(const auto tokenizer, Tokenizer::load(options.tokenizer));
  P5_TRY(auto source,
         TextSource::open(options.text, options.standard_input == "jsonl" ? TextFormat::jsonl : TextFormat::plain));
  P5_TRY(const auto summary,
         shard_text(source, tokenizer, options.output,
                    {options.shard_tokens, options.shuffle_seed, common.overwrite(), common.threads}));
  const ShardManifest& manifest = summary.manifest;
  const auto count = [](std::uint64_t value) { return grouped(static_cast<std::int64_t>(value)); };
  Outcome outcome;
  auto& report = outcome.report;
  report["folder"] = options.output;
  report["tokens"] = manifest.tokens;
  report["documents"] = manifest.documents;
  report["bytes"] = manifest.bytes;
  report["source_bytes"] = manifest.source_bytes;
  report["empty_documents"] = summary.empty_documents;
  report["normalization"] = to_json(summary.change);
  report["vocab_size"] = tokenizer.vocab();
  report["tokenizer_sha256"] = manifest.tokenizer_sha256;
  report["content_sha256"] = manifest.content_sha256;
  report["shuffle_seed"] =
      manifest.shuffle_seed ? nlohmann::ordered_json(*manifest.shuffle_seed) : nlohmann::ordered_json(nullptr);
  report["files"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < manifest.files.size(); ++i)
    report["files"].push_back({{"name", manifest.files[i]}, {"tokens", manifest.file_tokens[i]}});

  std::vector<TableRow> rows = {
      {"shards", options.output + " (" + std::to_string(manifest.files.size()) +
                     (manifest.files.size() == 1 ? " file)" : " files)")},
      {"documents",
       count(manifest.documents) + (summary.empty_documents ? " (" + count(summary.empty_documents) + " empty)" : "")},
      {"tokens", count(manifest.tokens) + " (one BOS a document)"},
      {"charged bytes", count(manifest.bytes) + " = decoded = normalised, checked on every document"},
      {"source bytes", count(manifest.source_bytes)}};
  for (TableRow& row : to_rows(summary.change)) rows.push_back(std::move(row));
  rows.emplace_back("order", manifest.shuffle_seed ? "shuffled with seed " + std::to_string(*manifest.shuffle_seed)
                                                   : "as in the files");
  outcome.text = two_columns(rows);
  return outcome;
}

}  // namespace

Command shard_command() {
  return {"shard", "Encode text into token shards with checked byte accounting",
          "  par5 shard train.jsonl.xz --tokenizer t.model -o shards/train --shuffle 42\n"
          "  cat book.txt | par5 shard - --tokenizer t.model -o shards/book",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("text", options->text,
                           "Text: .txt (NUL bytes separate documents), .jsonl (key \"text\"), each also .xz or .zst, a "
                           "folder, or -")
                ->required();
            app.add_option("--tokenizer", options->tokenizer, "SentencePiece .model file")->required();
            app.add_option("-o,--output", options->output, "Folder to write")->required();
            app.add_option("--shuffle", options->shuffle_seed,
                           "Shuffle the documents once, with this seed (all tokens are held in memory)");
            app.add_option("--shard-tokens", options->shard_tokens, "Tokens in one shard file")
                ->check(CLI::Range(std::int64_t{1}, std::int64_t{0x7fffffff}));
            app.add_option("--stdin", options->standard_input, "What standard input is: txt or jsonl")
                ->check(CLI::IsMember({"txt", "jsonl"}));
            return [options](const CommonOptions& common) { return shard(*options, common); };
          }};
}

}  // namespace par5
