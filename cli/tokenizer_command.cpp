#include "cli/commands.h"
#include "cli/normalization_report.h"
#include "core/config.h"
#include "core/log.h"
#include "core/text.h"
#include "tokenizer/model_file.h"
#include "tokenizer/sharding.h"
#include "tokenizer/training.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> text;
  std::string model;
  std::string output;
  std::string standard_input = "txt";
  std::int64_t vocab = DataConfig{}.vocab;
  // Of `verify`: what somebody else charged.
  std::string table, shards;
  std::optional<std::uint64_t> targets, bytes, documents;
};

Result<TextSource> open_text(const Options& options) {
  return TextSource::open(options.text, options.standard_input == "jsonl" ? TextFormat::jsonl : TextFormat::plain);
}

Result<Outcome> train(const Options& options, const CommonOptions& common) {
  P5_OK(check_output(options.output, common.overwrite()));
  P5_TRY(auto source, open_text(options));
  log_info("training a vocabulary of " + count(static_cast<std::uint64_t>(options.vocab)) + " pieces");
  P5_TRY(const auto trained, train_tokenizer(source, options.vocab));
  P5_TRY(const auto model, parse_model(trained.model, options.output));
  P5_OK(write_file(options.output, trained.model, common.overwrite()));
  if (trained.reserved_lines > 0)
    log_warning("SentencePiece left out " + count(trained.reserved_lines) +
                " lines that contain its reserved character U+2585");
  const std::string hash = tokenizer_sha256(model.tokenizer);
  Outcome outcome;
  outcome.report = {{"file", options.output},
                    {"vocab_size", model.tokenizer.pieces.size()},
                    {"pieces_sha256", hash},
                    {"model_bytes", model.bytes},
                    {"documents", trained.documents},
                    {"lines", trained.lines},
                    {"bytes", trained.bytes},
                    {"skipped_lines", {{"reserved_character", trained.reserved_lines}, {"too_long", 0}}}};
  outcome.text = two_columns({{"tokenizer", options.output + " (" + count(model.bytes) + " bytes)"},
                              {"pieces", count(model.tokenizer.pieces.size())},
                              {"pieces sha256", hash},
                              {"learnt from", count(trained.lines) + " lines, " + count(trained.bytes) + " bytes, of " +
                                                  count(trained.documents) + " documents"},
                              {"skipped", count(trained.reserved_lines) + " lines"},
                              {"next", "par5 shard TEXT --tokenizer " + options.output + " -o DIR"}});
  return outcome;
}

Result<Outcome> show(const Options& options) {
  P5_TRY(const auto model, read_model_file(options.model));
  P5_TRY(const auto tokenizer, Tokenizer::from_data(model.tokenizer));
  const TokenizerData& data = tokenizer.data();
  std::uint64_t types[7] = {};
  for (const TokenizerPiece& piece : data.pieces) ++types[piece.type];
  const auto id = [](std::optional<std::uint16_t> value) { return value ? Json(*value) : Json(nullptr); };
  Outcome outcome;
  auto& report = outcome.report;
  report["vocab_size"] = tokenizer.vocab();
  report["pieces_sha256"] = tokenizer.sha256();
  report["model_bytes"] = model.bytes;
  report["charged_bytes_source"] = "normalised text, by the leading-space rule";
  report["model_type"] = data.model_type;
  report["normalizer"] = {{"name", data.normalizer.empty() ? Json(nullptr) : Json(data.normalizer)},
                          {"sha256", data.normalizer_sha256},
                          {"built_in", data.normalizer_map.empty()},
                          {"add_dummy_prefix", data.add_dummy_prefix},
                          {"remove_extra_whitespaces", data.remove_extra_whitespaces},
                          {"escape_whitespaces", data.escape_whitespaces}};
  report["special_ids"] = {{"pad", id(tokenizer.pad())},
                           {"bos", id(tokenizer.bos())},
                           {"eos", id(tokenizer.eos())},
                           {"unk", tokenizer.unknown()}};
  report["pieces"] = {{"normal", types[1]},       {"unknown", types[2]}, {"control", types[3]},
                      {"user_defined", types[4]}, {"unused", types[5]},  {"byte", types[6]}};
  report["options"] = Json::object();
  std::string options_text;
  for (const auto& [name, value] : model.options) {
    report["options"][name] = value;
    options_text += (options_text.empty() ? "" : ", ") + name + " " + value;
  }
  const auto id_text = [](std::optional<std::uint16_t> value) {
    return value ? std::to_string(*value) : std::string("none");
  };
  outcome.text = two_columns(
      {{"model", options.model + " (" + count(model.bytes) + " bytes, " + data.model_type + ")"},
       {"pieces", count(tokenizer.vocab()) + " (" + count(types[1]) + " normal, " + count(types[6]) + " byte, " +
                      count(types[3]) + " control, " + count(types[2]) + " unknown, " + count(types[4]) +
                      " user-defined, " + count(types[5]) + " unused)"},
       {"pieces sha256", tokenizer.sha256()},
       {"normaliser",
        (data.normalizer.empty() ? "its own map" : data.normalizer) +
            (data.normalizer_sha256.empty() ? "" : ", sha256 " + data.normalizer_sha256.substr(0, 12) + "…") +
            (data.add_dummy_prefix ? ", dummy prefix" : ", no dummy prefix") +
            (data.remove_extra_whitespaces ? ", extra spaces removed" : ", spaces kept")},
       {"special ids", "pad " + id_text(tokenizer.pad()) + ", bos " + id_text(tokenizer.bos()) + ", eos " +
                           id_text(tokenizer.eos()) + ", unk " + std::to_string(tokenizer.unknown())},
       {"charged bytes", "of the normalised text, by the leading-space rule"},
       {"trained with", options_text}});
  return outcome;
}

Result<Outcome> verify(const Options& options, const CommonOptions& common) {
  P5_TRY(const auto tokenizer, Tokenizer::load(options.model));
  P5_TRY(auto source, open_text(options));
  TextClaim claim;
  claim.targets = options.targets;
  claim.bytes = options.bytes;
  claim.documents = options.documents;
  if (!options.table.empty()) P5_OK(read_charges(options.table, tokenizer, claim));
  if (!options.shards.empty()) {
    P5_TRY(claim.tokens, read_token_shards(options.shards));
  }
  P5_TRY(const auto summary, verify_text(source, tokenizer, common.threads, std::move(claim)));
  const bool holds = summary.faulty_documents == 0 && summary.named.empty();
  Outcome outcome;
  outcome.status = holds ? 0 : 1;
  outcome.report = {{"ok", holds},
                    {"pieces_sha256", tokenizer.sha256()},
                    {"documents", summary.documents},
                    {"tokens", summary.tokens},
                    {"bytes", summary.charged_bytes},
                    {"decoded_bytes", summary.decoded_bytes},
                    {"normalized_bytes", summary.normalized_bytes},
                    {"source_bytes", summary.source_bytes},
                    {"scored",
                     {{"targets", summary.scored.tokens - 1},
                      {"bytes", summary.scored.bytes},
                      {"leading_spaces", summary.scored.spaces},
                      {"byte_pieces", summary.scored.byte_pieces}}},
                    {"normalization", to_json(summary.change)},
                    {"named_faults", Json::array()},
                    {"faulty_documents", summary.faulty_documents},
                    {"faults", Json::array()}};
  std::vector<TableRow> rows = {
      {"verdict", holds                          ? "holds: charged = decoded = normalised on every document"
                  : summary.faulty_documents > 0 ? "DOES NOT HOLD on " + count(summary.faulty_documents) + " of " +
                                                       count(summary.documents) + " documents"
                                                 : "DOES NOT HOLD: the charges are not those of the text"},
      {"documents", count(summary.documents)},
      {"tokens", count(summary.tokens) + " (one BOS a document)"},
      {"charged bytes", count(summary.charged_bytes)},
      {"decoded bytes", count(summary.decoded_bytes)},
      {"normalised bytes", count(summary.normalized_bytes)},
      {"source bytes", count(summary.source_bytes)}};
  if (options.targets)
    rows.emplace_back("scored slice",
                      count(summary.scored.tokens - 1) + " targets, " + count(summary.scored.bytes) + " charged bytes");
  for (const ClaimFault& fault : summary.named) {
    outcome.report["named_faults"].push_back({{"id", fault.id}, {"evidence", fault.evidence}, {"bytes", fault.bytes}});
    rows.emplace_back(fault.id, fault.evidence);
  }
  if (holds)
    for (TableRow& row : to_rows(summary.change)) rows.push_back(std::move(row));
  constexpr std::size_t kFaultsPrinted = 10;
  for (const AccountFault& fault : summary.faults) {
    outcome.report["faults"].push_back({{"place", fault.place},
                                        {"fault", fault.fault},
                                        {"bytes", fault.charged_bytes},
                                        {"decoded_bytes", fault.decoded_bytes},
                                        {"normalized_bytes", fault.normalized_bytes}});
    if (outcome.report["faults"].size() <= kFaultsPrinted)
      rows.emplace_back("fault", fault.place + ": " + fault.fault + " (charged " + count(fault.charged_bytes) +
                                     ", decoded " + count(fault.decoded_bytes) + ", normalised " +
                                     count(fault.normalized_bytes) + ")");
  }
  outcome.text = two_columns(rows);
  return outcome;
}

void add_text(CLI::App& app, Options& options) {
  app.add_option(
         "text", options.text,
         "Text: .txt (NUL bytes separate documents), .jsonl (key \"text\"), each also .xz or .zst, a folder, or -")
      ->required();
  app.add_option("--stdin", options.standard_input, "What standard input is: txt or jsonl")
      ->check(CLI::IsMember({"txt", "jsonl"}));
}

}  // namespace

Command tokenizer_command() {
  return {"tokenizer", "Train, show and verify SentencePiece tokenizers",
          "  par5 tokenizer train train.jsonl.xz -o t.model --vocab 4096\n"
          "  par5 tokenizer show t.model\n"
          "  par5 tokenizer verify t.model val.jsonl.xz\n"
          "  par5 tokenizer verify t.model val.jsonl.xz --table their_bytes.tsv\n"
          "  par5 tokenizer verify t.model val.jsonl.xz --shards their_shards --targets 40540160 --bytes 176332748",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.require_subcommand(1);
            CLI::App* train_app =
                app.add_subcommand("train", "Learn a BPE vocabulary with the parameter-golf challenge's options");
            add_text(*train_app, *options);
            train_app->add_option("-o,--output", options->output, "The .model file to write")->required();
            train_app->add_option("--vocab", options->vocab, "Pieces, the 260 special ones included (261 to 65536)");
            CLI::App* show_app = app.add_subcommand("show", "What a .model file holds");
            show_app->add_option("model", options->model, "SentencePiece .model file")->required();
            CLI::App* verify_app = app.add_subcommand(
                "verify",
                "Check the byte accounting on every document of a text, and what somebody else charged for it");
            verify_app->add_option("model", options->model, "SentencePiece .model file")->required();
            add_text(*verify_app, *options);
            verify_app->add_option("--table", options->table,
                                   "Bytes that somebody charged: a row a piece (id or piece, bytes, leading_space), or "
                                   ".bin, a 16-bit number a piece or a token");
            verify_app->add_option("--shards", options->shards,
                                   "Token shards that somebody scored: a .bin file, or a folder of them");
            verify_app->add_option("--targets", options->targets,
                                   "Targets that somebody scored: the slice that is held against the charges");
            verify_app->add_option("--bytes", options->bytes, "Bytes that somebody charged for them");
            verify_app->add_option("--documents", options->documents, "Documents that somebody scored");
            return [options, train_app, show_app](const CommonOptions& common) -> Result<Outcome> {
              if (train_app->parsed()) return train(*options, common);
              if (show_app->parsed()) return show(*options);
              return verify(*options, common);
            };
          }};
}

}  // namespace par5
