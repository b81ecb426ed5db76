#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "archive/artifact.h"
#include "cli/commands.h"
#include "core/cancel.h"
#include "core/text.h"
#include "engine/sampler.h"
#include "eval/self_test.h"
#include "tokenizer/tokenizer.h"

namespace par5 {
namespace {

struct GenerateOptions {
  std::string artifact, prompt, tokenizer, arithmetic = "fp32", kernel;
  std::vector<std::string> stop;
  std::size_t max_tokens = 256;
  bool past_end = false;
  SamplingOptions sampling;
};

// The artifact's own tokenizer, else the named one, which must be the one that the artifact was made with.
Result<Tokenizer> find_tokenizer(const GenerateOptions& options, Artifact& artifact) {
  if (options.tokenizer.empty()) {
    if (artifact.tokenizer) return Tokenizer::from_data(std::move(*artifact.tokenizer));
    return usage_error("'" + options.artifact + "' holds no tokenizer; name it with --tokenizer FILE", "--tokenizer");
  }
  P5_TRY(Tokenizer tokenizer, Tokenizer::load(options.tokenizer));
  if (!artifact.tokenizer_sha256.empty() && tokenizer.sha256() != artifact.tokenizer_sha256)
    return bad_data("'" + options.tokenizer + "' is not the tokenizer that '" + options.artifact + "' was made with",
                    options.tokenizer);
  return tokenizer;
}

// Text that comes piece by piece; what could be the beginning of a stop string is held back.
class Output {
 public:
  Output(const std::vector<std::string>& stops, bool print) : stops_(stops), print_(print) {
    for (const std::string& stop : stops) longest_ = std::max(longest_, stop.size());
  }
  // True: a stop string is complete; the text ends before it.
  bool add(std::string_view piece) {
    const std::size_t from = text_.size() < longest_ ? 0 : text_.size() - longest_;
    text_ += piece;
    std::size_t end = std::string::npos;
    for (const std::string& stop : stops_) end = std::min(end, text_.find(stop, from));
    if (end != std::string::npos) text_.resize(end);
    flush(end != std::string::npos || longest_ == 0 ? text_.size()
                                                    : text_.size() - std::min(text_.size(), longest_ - 1));
    return end != std::string::npos;
  }
  void finish() { flush(text_.size()); }
  const std::string& text() const { return text_; }
  bool failed() const { return failed_; }

 private:
  void flush(std::size_t end) {
    if (!print_ || end <= printed_) return;
    const std::size_t count = end - printed_;
    if (std::fwrite(text_.data() + printed_, 1, count, stdout) != count || std::fflush(stdout) != 0) failed_ = true;
    printed_ = end;
  }
  const std::vector<std::string>& stops_;
  bool print_, failed_ = false;
  std::size_t longest_ = 0, printed_ = 0;
  std::string text_;
};

// A text in one window of the engine. When it outgrows the window, the model sees its last half as a new text.
class Context {
 public:
  static Result<Context> create(Engine& engine) {
    P5_TRY(Windows windows, engine.make_windows(1, engine.model().context));
    return Context(engine, std::move(windows));
  }
  // Logits after the tokens so far and these.
  Status append(std::span<const std::uint16_t> tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    std::span<const std::uint16_t> unseen = tokens;
    if (static_cast<std::int64_t>(tokens.size()) > windows_.capacity() - windows_.length(0)) {
      windows_.truncate(0, 0);
      const auto half = static_cast<std::size_t>(std::max<std::int64_t>(windows_.capacity() / 2, 1));
      unseen = std::span(tokens_).last(std::min(half, tokens_.size()));
    }
    const WindowInput input{0, unseen, static_cast<std::int64_t>(unseen.size()) - 1};
    return engine_->append(windows_, {&input, 1}, [&](std::int64_t, std::int64_t, std::span<const float> logits) {
      logits_.assign(logits.begin(), logits.end());
      return Status();
    });
  }
  std::span<const float> logits() const { return logits_; }

 private:
  Context(Engine& engine, Windows windows) : engine_(&engine), windows_(std::move(windows)) {}
  Engine* engine_;
  Windows windows_;
  std::vector<std::uint16_t> tokens_;
  std::vector<float> logits_;
};

Result<Outcome> run(const GenerateOptions& options, const CommonOptions& common) {
  for (const std::string& stop : options.stop)
    if (stop.empty()) return usage_error("a stop string is not empty", "--stop");
  EngineOptions engine_options;
  P5_TRY(engine_options.arithmetic, arithmetic_from_name(options.arithmetic));
  engine_options.kernel = options.kernel;
  engine_options.threads = common.threads;
  P5_TRY(DecodedArtifact decoded, read_artifact(options.artifact, common.threads));
  if (const auto version = arithmetic_version(decoded.artifact.extras); !version)
    return tl::unexpected(version.error());
  // What packing fitted belongs to the model's distribution; the option is relative to it.
  SamplingOptions sampling = options.sampling;
  P5_OK(Sampler::create(sampling));
  sampling.temperature *= decoded.artifact.temperature;
  P5_TRY(Sampler sampler, Sampler::create(sampling));
  P5_TRY(const Tokenizer tokenizer, find_tokenizer(options, decoded.artifact));
  if (static_cast<std::int64_t>(tokenizer.vocab()) != decoded.artifact.model.model.vocab)
    return bad_data("the tokenizer has " + std::to_string(tokenizer.vocab()) + " pieces and the model " +
                        std::to_string(decoded.artifact.model.model.vocab),
                    options.artifact);
  P5_TRY(Engine engine, Engine::create(decoded.artifact.model, engine_options));
  P5_TRY(Context context, Context::create(engine));

  std::string prompt = options.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  P5_TRY(std::vector<std::uint16_t> ids, tokenizer.encode(prompt));
  const auto bos = tokenizer.bos();
  if (bos) ids.insert(ids.begin(), *bos);
  if (ids.empty()) return usage_error("the tokenizer has no beginning-of-text piece; give a --prompt", "--prompt");
  P5_TRY(const std::string shown, tokenizer.decode(ids));

  Output output(options.stop, !common.json);
  if (!common.json && (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || std::fflush(stdout) != 0))
    return Outcome{};
  const auto start = std::chrono::steady_clock::now();
  P5_OK(context.append(ids));
  const auto prompt_end = std::chrono::steady_clock::now();
  std::vector<std::uint16_t> generated;
  std::string reason = "length";
  bool after_boundary = ids.size() == 1 && bos.has_value();
  while (generated.size() < options.max_tokens) {
    if (cancelled()) return interrupted();
    const std::uint16_t token = sampler.draw(engine, context.logits());
    generated.push_back(token);
    const bool boundary = token == bos || token == tokenizer.eos();
    if (boundary && !options.past_end) {
      reason = "end";
      break;
    }
    if (output.add(boundary ? std::string_view("\n\n") : tokenizer.surface(token, after_boundary))) {
      reason = "stop";
      break;
    }
    if (output.failed()) return Outcome{};  // nobody reads on
    after_boundary = boundary;
    if (generated.size() < options.max_tokens) P5_OK(context.append({&token, 1}));
  }
  output.finish();
  const auto end = std::chrono::steady_clock::now();
  const auto seconds = [](auto from, auto to) { return std::chrono::duration<double>(to - from).count(); };
  Outcome outcome;
  outcome.report["kernel"] = engine.kernel();
  outcome.report["arithmetic"] = arithmetic_name(engine.arithmetic());
  outcome.report["seed"] = options.sampling.seed;
  outcome.report["prompt"] = shown;
  outcome.report["text"] = output.text();
  outcome.report["stopped_by"] = reason;
  outcome.report["prompt_tokens"] = ids.size();
  outcome.report["tokens"] = generated;
  outcome.report["prompt_seconds"] = seconds(start, prompt_end);
  outcome.report["generation_seconds"] = seconds(prompt_end, end);
  outcome.text = "\n";
  return outcome;
}

}  // namespace

Command generate_command() {
  return {"generate", "Continue a text with an artifact's model",
          "  par5 generate model.par5 --prompt \"The history of\"\n"
          "  par5 generate model.par5 --prompt \"Once\" --temperature 0.8 --top-p 0.95 --seed 7 --stop \".\"\n"
          "  echo \"In the beginning\" | par5 generate model.par5 --prompt - --max-tokens 50 --json",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<GenerateOptions>();
            app.add_option("artifact", options->artifact, "Artifact (.par5)")->required();
            app.add_option("--prompt", options->prompt, "Text to continue; - reads standard input");
            app.add_option("--max-tokens", options->max_tokens, "Most tokens to generate");
            app.add_option("--temperature", options->sampling.temperature,
                           "Logits are divided by it; 0: the likeliest token");
            app.add_option("--top-k", options->sampling.top_k, "Draw from the k likeliest tokens only; 0: from all");
            app.add_option("--top-p", options->sampling.top_p,
                           "Draw from the likeliest tokens of this probability together");
            app.add_option("--min-p", options->sampling.min_p,
                           "Draw from tokens at least this likely, relative to the likeliest");
            app.add_option("--seed", options->sampling.seed, "The same seed gives the same text on any machine");
            app.add_option("--stop", options->stop, "End before this text; may be given several times");
            app.add_flag("--past-end", options->past_end, "Go on where the model ends a document");
            app.add_option("--tokenizer", options->tokenizer, "SentencePiece model where the artifact holds none");
            app.add_option("--arithmetic", options->arithmetic, "fp32, int8 or fp32-adds");
            app.add_option("--kernel", options->kernel,
                           "Force a kernel (`par5 bench` lists them); the text stays the same");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
