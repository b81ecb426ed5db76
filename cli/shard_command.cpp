#include "cli/commands.h"
#include "cli/normalization_report.h"
#include "cli/text_shards.h"
#include "core/config.h"
#include "core/text.h"
#include "tokenizer/sharding.h"
#include "tokenizer/text_overlap.h"

namespace par5 {
namespace {

struct Options {
  std::vector<std::string> text;
  std::string tokenizer;
  std::string output;
  std::string standard_input = "txt";
  std::optional<std::uint64_t> shuffle_seed;
  std::string train, val;  // of `shard overlap`
  std::uint64_t shard_tokens = static_cast<std::uint64_t>(DataConfig{}.shard_tokens);
};

// Documents, and passages of what is at hand: tokens of two folders of shards, paragraphs of two texts.
Result<Outcome> overlap(const Options& options) {
  const bool shards = is_shard_folder(options.train);
  if (shards != is_shard_folder(options.val))
    return usage_error("compare two folders of shards or two texts; of '" + options.train + "' and '" + options.val +
                       "' one is shards and the other is not");
  Overlap found;
  if (shards) {
    P5_TRY(found, shard_overlap(options.train, options.val));
  } else {
    P5_TRY(auto train, TextSource::open({options.train}));
    P5_TRY(auto val, TextSource::open({options.val}));
    P5_TRY(found, text_overlap(train, val));
  }
  const std::string passages = shards ? "passages" : "paragraphs";
  const bool clean = found.shared_documents == 0 && found.near_documents == 0;
  Outcome outcome;
  outcome.status = clean ? 0 : exit_status(ErrorCode::check_failed);
  outcome.report = {{"ok", clean},
                    {"documents_a", found.documents_a},
                    {"documents_b", found.documents_b},
                    {"bytes_b", found.bytes_b},
                    {"shared_documents", found.shared_documents},
                    {"shared_bytes", found.shared_bytes},
                    {"compared_" + passages, found.compared_passages},
                    {"near_documents", found.near_documents},
                    {passages, found.passages},
                    {"shared_" + passages, found.shared_passages},
                    {"examples", found.examples}};
  outcome.text = two_columns(
      {{"verdict", clean ? "no document of B is in A" : "B is NOT clean of A"},
       {"documents", count(found.documents_a) + " in A, " + count(found.documents_b) + " in B"},
       {"the same in both", count(found.shared_documents) + " documents of B, " + count(found.shared_bytes) +
                                " of its " + count(found.bytes_b) + (shards ? " charged bytes" : " bytes")},
       {"near duplicates",
        found.compared_passages
            ? count(found.near_documents) + " further documents of B, half or more of whose " + passages + " are in A"
            : "not compared: the two were made with different tokenizers"},
       {passages, count(found.shared_passages) + " of " + count(found.passages) +
                      (shards ? " (runs of " + std::to_string(kPassageTokens) + " tokens)"
                              : " (of " + std::to_string(kParagraphBytes) + " bytes and more)") +
                      " are in A"}});
  return outcome;
}

Result<Outcome> shard(const Options& options, const CommonOptions& common) {
  if (options.text.empty()) return usage_error("name the text to encode");
  if (options.tokenizer.empty()) return usage_error("--tokenizer is required");
  if (options.output.empty()) return usage_error("--output is required");
  P5_TRY(const auto tokenizer, Tokenizer::load(options.tokenizer));
  P5_TRY(auto source,
         TextSource::open(options.text, options.standard_input == "jsonl" ? TextFormat::jsonl : TextFormat::plain));
  P5_TRY(const auto summary,
         shard_text(source, tokenizer, options.output,
                    {options.shard_tokens, options.shuffle_seed, common.overwrite(), common.threads}));
  const ShardManifest& manifest = summary.manifest;
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
          "  cat book.txt | par5 shard - --tokenizer t.model -o shards/book\n"
          "  par5 shard overlap shards/train shards/val\n"
          "  par5 shard overlap train.jsonl.xz val.jsonl.xz",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option("text", options->text,
                           "Text: .txt (NUL bytes separate documents), .jsonl (key \"text\"), each also .xz or .zst, a "
                           "folder, or -");
            app.add_option("--tokenizer", options->tokenizer, "SentencePiece .model file");
            app.add_option("-o,--output", options->output, "Folder to write");
            app.add_option("--shuffle", options->shuffle_seed,
                           "Shuffle the documents once, with this seed (all tokens are held in memory)");
            app.add_option("--shard-tokens", options->shard_tokens, "Tokens in one shard file")
                ->check(CLI::Range(std::int64_t{1}, std::int64_t{0x7fffffff}));
            app.add_option("--stdin", options->standard_input, "What standard input is: txt or jsonl")
                ->check(CLI::IsMember({"txt", "jsonl"}));
            CLI::App* overlap_app =
                app.add_subcommand("overlap", "Whether documents of B (validation) are in A (training)");
            overlap_app->add_option("A", options->train, "Training: a folder of shards, or text")->required();
            overlap_app->add_option("B", options->val, "Validation: likewise")->required();
            return [options, overlap_app](const CommonOptions& common) {
              return overlap_app->parsed() ? overlap(*options) : shard(*options, common);
            };
          }};
}

}  // namespace par5
