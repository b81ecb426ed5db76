#include <algorithm>
#include <chrono>

#include "archive/byte_io.h"
#include "cli/coding_tokenizer.h"
#include "cli/commands.h"
#include "cli/eval_options.h"
#include "cli/text_shards.h"
#include "core/hash.h"
#include "core/text.h"
#include "eval/coding/coded_text.h"
#include "eval/coding/source_text.h"
#include "eval/exact_learner.h"
#include "eval/learning.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options {
  EvalOptions eval;  // model, data, window, stride, arithmetic, kernel, tokenizer, max_targets
  std::string mode = "chunked";
  std::int64_t lanes = 0;
  std::string work;
  std::string decode;
  std::string output;
  bool raw = false;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The text of tokens: documents joined by NUL bytes, as .txt files have them. Without a tokenizer: the token ids as
// 16-bit little-endian integers.
Result<std::string> text_of(std::span<const std::uint16_t> tokens, const std::optional<Tokenizer>& tokenizer) {
  std::string text;
  if (!tokenizer) {
    for (const std::uint16_t token : tokens) text += {static_cast<char>(token & 255), static_cast<char>(token >> 8)};
    return text;
  }
  for (std::size_t begin = 0; begin < tokens.size();) {
    std::size_t end = begin + 1;
    while (end < tokens.size() && tokens[end] != tokenizer->bos()) ++end;
    P5_TRY(const std::string document, tokenizer->decode(tokens.subspan(begin, end - begin)));
    if (begin > 0) text += '\0';
    text += document;
    begin = end;
  }
  return text;
}

// The documents of a text as they were before normalisation, joined by NUL bytes, and the edits that lead to them from
// the text of their tokens.
struct RawText {
  std::string source;
  std::vector<SourceEdit> edits;
};

Result<RawText> raw_text(const std::string& data, const Tokenizer& tokenizer) {
  P5_TRY(TextSource source, TextSource::open({data}));
  RawText raw;
  TextDocument document;
  for (std::size_t begin = 0, documents = 0;; ++documents) {
    P5_TRY(const bool more, source.next(document));
    if (!more) break;
    if (documents > 0) {
      raw.source += '\0';
      ++begin;
    }
    P5_TRY(SourceText one, tokenize_source(tokenizer, document.text));
    for (SourceEdit& edit : one.edits) {
      edit.position += begin;
      raw.edits.push_back(std::move(edit));
    }
    raw.source += document.text;
    begin += one.text.size();
  }
  return raw;
}

// The bitstream's changes: the number of the source's bytes, then the coded edits.
std::vector<std::byte> coded_changes(const std::string& text, const RawText& raw) {
  ByteWriter out;
  out.varint(raw.source.size());
  out.raw(encode_changes(text, raw.edits));
  return out.take();
}
Result<std::string> source_of(const std::string& text, std::span<const std::byte> changes) {
  ByteReader in(changes, {}, 0, "the changes");
  P5_TRY(const std::uint64_t bytes, in.varint());
  P5_TRY(const auto rest, in.bytes(in.remaining()));
  P5_TRY(std::string source, restore_source(text, rest, bytes));
  if (source.size() != bytes) return bad_data("the changes lead to a text of another length");
  return source;
}

std::string raw_file(const std::string& text_file) { return text_file + ".raw"; }

// The second process: artifact and bitstream → text.
Result<Outcome> decode(const Options& options, const CommonOptions& common) {
  if (options.output.empty()) return usage_error("--decode needs -o FILE for the text", "--output");
  P5_OK(check_output(options.output, common.overwrite()));
  const auto start = Clock::now();
  P5_TRY(const CodingModel model, load_coding_model(options.eval.model, common.threads));
  P5_TRY(const std::vector<std::byte> bytes, read_file(options.decode));
  P5_TRY(const Bitstream bitstream, read_bitstream(bytes, options.decode));
  P5_TRY(const DecodedText decoded,
         decode_text(model, bitstream, options.decode, {options.eval.kernel, common.threads, 0},
                     options.output + ".progress"));
  P5_TRY(const auto tokenizer, coding_tokenizer(model, options.eval.tokenizer));
  P5_TRY(const std::string text, text_of(decoded.tokens, tokenizer));
  P5_OK(write_file(options.output, text, common.overwrite()));
  Outcome outcome;
  if (!bitstream.changes.empty()) {
    P5_TRY(const std::string source, source_of(text, bitstream.changes));
    P5_OK(write_file(raw_file(options.output), source, common.overwrite()));
    outcome.report["raw_output"] = raw_file(options.output);
    outcome.report["raw_sha256"] = hex(sha256(source));
  }
  outcome.report["output"] = options.output;
  outcome.report["targets"] = bitstream.targets();
  outcome.report["decoded_bytes"] = text.size();
  outcome.report["decoded_sha256"] = hex(sha256(text));
  outcome.report["resumed_targets"] = decoded.resumed_targets;
  if (bitstream.parameters.learns()) outcome.report["updates"] = decoded.updates;
  outcome.report["kernel"] = decoded.kernel;
  outcome.report["threads"] = decoded.threads;
  outcome.report["decode_seconds"] = seconds_since(start);
  outcome.text = "decoded " + grouped(bitstream.targets()) + " targets to " + options.output + " (" +
                 grouped(static_cast<std::int64_t>(text.size())) + " bytes" + (tokenizer ? "" : " of token ids") +
                 ", SHA-256 " + hex(sha256(text)) + ")\n";
  return outcome;
}

// Starts this program anew (whatever its name) with artifact and bitstream only; returns what it reports.
Result<Json> decode_in_another_process(const Options& options, const CommonOptions& common, const std::string& folder,
                                       const std::string& bitstream, const std::string& text) {
  const std::string report = join_path(folder, "decode.json");
  std::vector<std::string> arguments = {"/proc/self/exe",
                                        "prove",
                                        options.eval.model,
                                        "--decode",
                                        bitstream,
                                        "--output",
                                        text,
                                        "--json",
                                        "--force",
                                        "--threads",
                                        std::to_string(common.threads)};
  const auto add = [&arguments](const char* flag, const std::string& value) {
    if (!value.empty()) arguments.insert(arguments.end(), {flag, value});
  };
  add("--kernel", options.eval.kernel);
  add("--tokenizer", options.eval.tokenizer);
  if (common.quiet) arguments.emplace_back("--quiet");
  P5_TRY(const int status, run_child(arguments, report));
  P5_TRY(const std::string printed, read_text_file(report));
  const Json json = Json::parse(printed, nullptr, false);
  if (status == 0 && json.is_object()) return json;
  if (status == exit_status(ErrorCode::interrupted)) return interrupted();
  std::string message = "it ended with status " + std::to_string(status);
  if (json.is_object() && json.contains("error")) message = json["error"].value("message", message);
  return check_failed("the second process did not return the text: " + message);
}

Result<CodingParameters> coding_parameters(const Options& options, const ModelConfig& model, std::uint16_t bos) {
  CodingParameters parameters;
  P5_TRY(parameters.mode, mode_from_name(options.mode));
  if (parameters.mode.unit_temperature)
    return usage_error("a proof is made at the artifact's own temperature; leave @T=1 out", "--mode");
  if (parameters.mode.no_learning)
    return usage_error(
        options.mode + " has the probabilities of sliding windows; prove --mode sliding with the same " + "stride",
        "--mode");
  P5_TRY(parameters.arithmetic, arithmetic_from_name(options.eval.arithmetic));
  P5_TRY(const Config config, eval_config(options.eval));
  if (parameters.learns()) {
    P5_TRY(const EvalSettings settings, eval_settings(options.eval, config, model));
    parameters.learning = settings.learning(parameters.mode.kind);
    parameters.z_loss = config.train.z_loss;
    parameters.phase_documents = settings.ttt_phased.documents;
    parameters.phases = settings.ttt_phased.phases;
    P5_OK(check_exact_learning(parameters.mode.kind, parameters.learning));
  }
  P5_TRY(parameters.window, resolve_window(config.eval, model));
  parameters.stride = parameters.sliding() ? config.eval.stride : parameters.window;
  if (parameters.stride > parameters.window)
    return usage_error("a stride of " + std::to_string(parameters.stride) + " is longer than the window of " +
                           std::to_string(parameters.window),
                       "eval.stride");
  parameters.bos = bos;
  return parameters;
}

Result<Outcome> prove(const Options& options, const CommonOptions& common) {
  P5_TRY(const CodingModel model, load_coding_model(options.eval.model, common.threads));
  P5_TRY(const auto tokenizer, coding_tokenizer(model, options.eval.tokenizer));
  P5_TRY(const TemporaryFolder temporary, TemporaryFolder::create());
  const std::string folder = options.work.empty() ? temporary.path() : options.work;
  P5_OK(make_folders(folder));
  P5_TRY(const TextShards shards, TextShards::of(options.eval.data, tokenizer, common.threads));
  P5_TRY(const EvalData data, load_eval_data(shards.folder(), options.eval.max_targets));
  P5_OK(check_vocabulary(data, model.artifact.model.model.vocab, model.artifact.tokenizer_sha256));
  P5_TRY(const CodingParameters parameters, coding_parameters(options, model.artifact.model.model, data.bos));
  P5_TRY(const std::string text, text_of(data.tokens, tokenizer));

  std::optional<RawText> raw;
  if (options.raw) {
    if (is_shard_folder(options.eval.data) || options.eval.max_targets > 0)
      return usage_error("--raw codes a whole text as it was: name the text, not shards, and leave --max-targets out",
                         "--raw");
    P5_TRY(raw, raw_text(options.eval.data, *tokenizer));
  }

  const auto start = Clock::now();
  P5_TRY(CodedText coded,
         encode_text(model, parameters, data.tokens, {options.eval.kernel, common.threads, options.lanes}));
  if (raw) coded.bitstream.changes = coded_changes(text, *raw);
  P5_TRY(const WrittenBitstream written, write_bitstream(coded.bitstream));
  const double encode_seconds = seconds_since(start);
  const std::string bitstream = join_path(folder, "text.p5b"), decoded = join_path(folder, "decoded");
  P5_OK(write_file(bitstream, written.bytes, Overwrite::yes));
  if (!options.output.empty()) P5_OK(write_file(options.output, written.bytes, common.overwrite()));

  P5_TRY(const Json second, decode_in_another_process(options, common, folder, bitstream, decoded));
  P5_TRY(const std::vector<std::byte> returned, read_file(decoded));
  const auto source = as_bytes(text);
  bool identical = std::equal(returned.begin(), returned.end(), source.begin(), source.end());
  std::string raw_sha256;  // of what came back
  if (raw) {
    P5_TRY(const std::vector<std::byte> raw_returned, read_file(raw_file(decoded)));
    const auto raw_source = as_bytes(raw->source);
    identical = identical && std::equal(raw_returned.begin(), raw_returned.end(), raw_source.begin(), raw_source.end());
    raw_sha256 = hex(sha256(raw_returned));
  }

  const std::int64_t charged = charged_bytes(data, data.targets());
  if (charged < 1) return bad_data("the targets are charged no bytes, so there is no bpb");
  const auto bpb = [&](double bits) { return bits / static_cast<double>(charged); };
  const BitstreamSizes& sizes = written.sizes;
  const double claimed_bytes = coded.claimed_bits / 8;
  const double bound = claimed_bytes * 1.0001 + 8;
  const bool holds = static_cast<double>(sizes.payload) <= bound;

  Outcome outcome;
  Json& report = outcome.report;
  report["identical"] = identical;
  report["mode"] = mode_name(parameters.mode);
  report["engine"] = "exact " + std::string(arithmetic_name(parameters.arithmetic));
  report["arithmetic"] = arithmetic_name(parameters.arithmetic);
  report["arithmetic_version"] = kArithmeticVersion;
  report["kernel"] = coded.kernel;
  report["threads"] = coded.threads;
  report["window"] = parameters.window;
  report["stride"] = parameters.stride;
  report["lanes"] = coded.bitstream.lanes.size();
  if (parameters.learns()) {
    report["updates"] = coded.updates;
    report["adapted_values"] = coded.adapted_values;
    report["learner"] =
        learner_description(adaptation_of(parameters.mode.kind), parameters.learning, {}, parameters.z_loss);
  }
  report["targets"] = data.targets();
  report["documents"] = document_count(data, data.targets());
  report["source_bytes"] = charged;
  report["raw_bytes"] = data.source_bytes ? Json(*data.source_bytes) : Json(nullptr);
  const std::uint64_t stream_bytes = sizes.total() - sizes.changes;
  report["stream_bytes"] = stream_bytes;
  report["payload_bytes"] = sizes.payload;
  report["header_bytes"] = sizes.header;
  report["checksum_bytes"] = sizes.checksums;
  report["claimed_bits"] = coded.claimed_bits;
  report["bpb_claimed"] = bpb(coded.claimed_bits);
  report["bpb_payload"] = bpb(8.0 * static_cast<double>(sizes.payload));
  report["bpb_stream"] = bpb(8.0 * static_cast<double>(stream_bytes));
  report["payload_excess_bytes"] = static_cast<double>(sizes.payload) - claimed_bytes;
  report["payload_within_bound"] = holds;  // claim + 0.01 % + 8 bytes
  report["source_sha256"] = hex(sha256(text));
  report["decoded_sha256"] = hex(sha256(returned));
  if (raw) {
    report["raw"] = {{"source_bytes", raw->source.size()},
                     {"changes_bytes", sizes.changes},
                     {"stream_bytes", sizes.total()},
                     {"bpb_stream", 8.0 * static_cast<double>(sizes.total()) / static_cast<double>(raw->source.size())},
                     {"source_sha256", hex(sha256(raw->source))},
                     {"decoded_sha256", raw_sha256}};
  }
  report["artifact_sha256"] = model.sha256;
  report["second_process"] = {{"kernel", second.value("kernel", "")},
                              {"decoded_sha256", second.value("decoded_sha256", "")},
                              {"resumed_targets", second.value("resumed_targets", 0)}};
  if (parameters.learns()) report["second_process"]["updates"] = second.value("updates", 0);
  report["encode_seconds"] = encode_seconds;
  report["decode_seconds"] = second.value("decode_seconds", 0.0);
  outcome.status = identical && holds ? 0 : exit_status(ErrorCode::check_failed);

  const auto line = [&](std::uint64_t bytes, const std::string& what) {
    std::string number = grouped(static_cast<std::int64_t>(bytes));
    return std::string(number.size() < 14 ? 14 - number.size() : 0, ' ') + number + "  " + what + "\n";
  };
  const std::string learnt = parameters.learns()
                                 ? grouped(coded.updates) + " steps of " + grouped(coded.adapted_values) +
                                       " values, each from targets that " +
                                       "stand before it in the stream: the decoder took them from what it had decoded\n"
                                 : "";
  outcome.text =
      mode_name(parameters.mode) + ", window " + std::to_string(parameters.window) + ", stride " +
      std::to_string(parameters.stride) + "; engine exact " + std::string(arithmetic_name(parameters.arithmetic)) +
      " (version " + std::to_string(kArithmeticVersion) + "), kernel " + coded.kernel + "\n" + grouped(data.targets()) +
      " targets, " + grouped(charged) + " bytes of normalised text, " + grouped(document_count(data, data.targets())) +
      " documents, " + std::to_string(coded.bitstream.lanes.size()) + " lanes\n" + learnt +
      line(sizes.payload, "payload") + line(sizes.header, "header: every parameter of the mode") +
      line(sizes.checksums, "checksums: artifact, tokens, file") + line(stream_bytes, "total") + "claimed    " +
      fixed(bpb(coded.claimed_bits), 8) + " bits per byte, as eval --engine exact has it\n" + "payload    " +
      fixed(bpb(8.0 * static_cast<double>(sizes.payload)), 8) + ", " +
      fixed(static_cast<double>(sizes.payload) - claimed_bytes, 1) + " bytes more than claimed (" +
      (holds ? "within" : "NOT within") + " 0.01 % + 8 bytes)\n" + "everything " +
      fixed(bpb(8.0 * static_cast<double>(stream_bytes)), 8) + "\n" + "text       sha256 " + hex(sha256(text)) + "\n" +
      "decoded    sha256 " + hex(sha256(returned)) + "\n";
  if (raw)
    outcome.text += line(sizes.changes, "more for what normalisation changed") + "raw text   " +
                    fixed(8.0 * static_cast<double>(sizes.total()) / static_cast<double>(raw->source.size()), 8) +
                    " bits per byte of its " + grouped(static_cast<std::int64_t>(raw->source.size())) +
                    " bytes\nraw text   sha256 " + hex(sha256(raw->source)) + "\ndecoded    sha256 " + raw_sha256 +
                    "\n";
  outcome.text +=
      identical
          ? "identical: a second process got the artifact and the bitstream only and returned the text (encoded in " +
                duration(encode_seconds) + ", decoded in " + duration(second.value("decode_seconds", 0.0)) + ")\n"
          : "NOT IDENTICAL: the second process returned another text\n";
  return outcome;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (!options.decode.empty()) {
    if (!options.eval.data.empty()) return usage_error("--decode gets artifact and bitstream only; leave --data out");
    return decode(options, common);
  }
  if (options.eval.data.empty()) return usage_error("name the text to prove with --data DIR|TEXT", "--data");
  return prove(options, common);
}

}  // namespace

Command prove_command() {
  return {
      "prove", "Show that a bpb is real: code a text with the artifact, decode it in a second process, compare",
      "  par5 prove model.par5 --data shards/val\n"
      "  par5 prove model.par5 --data val.jsonl.xz --mode sliding --stride 64 -o val.p5b\n"
      "  par5 prove model.par5 --data val.jsonl.xz --mode ttt:model --stride 512 --work proof\n"
      "  par5 prove model.par5 --decode val.p5b -o val.txt",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        EvalOptions& eval = options->eval;
        app.add_option("MODEL", eval.model, "Artifact (.par5)")->required();
        app.add_option("--data", eval.data, "Folder of shards, or text: .txt, .jsonl, each also .xz or .zst");
        app.add_option("--mode", options->mode,
                       "chunked (default), sliding, document, document:sliding, ttt:scalars, ttt:model, ttt:phased, "
                       "online");
        app.add_option("--config", eval.config, "TOML file: the settings of modes that learn");
        app.add_option("--set", eval.assignments, "section.key=value, overrides the file");
        app.add_option("--window", eval.window, "Tokens of context in a window (default: the model's context)")
            ->check(CLI::Range(1, 1048576));
        app.add_option("--stride", eval.stride, "Targets scored per sliding window (default: 64)")
            ->check(CLI::Range(1, 1048576));
        app.add_option("--arithmetic", eval.arithmetic, "fp32 (default), int8, or fp32-adds");
        app.add_option("--kernel", eval.kernel, "One of this CPU's kernels (default: the best)");
        app.add_option("--lanes", options->lanes,
                       "Parts of the text that are decoded side by side (default: by length and memory, at most 64)")
            ->check(CLI::Range(std::int64_t{1}, kMostLanes));
        app.add_option("--tokenizer", eval.tokenizer, "SentencePiece model where the artifact holds none");
        app.add_option("--max-targets", eval.max_targets, "Prove only the first N targets")
            ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000000000000000}));
        app.add_flag("--raw", options->raw, "Also code what normalisation changed, and prove the text as it was");
        app.add_option("--work", options->work,
                       "Keep bitstream and decoded text in this folder; the same command again goes on decoding");
        app.add_option("-o,--output", options->output, "Keep the bitstream (with --decode: the text) in this file");
        app.add_option("--decode", options->decode, "Only decode this bitstream: what the second process does");
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
